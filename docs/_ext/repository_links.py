"""Links to files of the repository, written as GitHub follows them: ``../examples/mnist.py``.

On the site a module leads to its highlighted source, a folder of modules to its page in the
reference, and an example or a benchmark to its place on the page that shows them all.
"""

import ast
import re
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

SCHEME = "repository"
SCRIPTS = "examples"
LINK = re.compile(r"\]\(\.\./([^)\s]+)\)")


def mark(app: Sphinx, docname: str, source: list[str]) -> None:
    """Mark such links before the page is parsed, so that they are not looked for among its pages.

    The empty line that ends the output of a doctest is for pytest alone, and is taken away.
    """
    if not docname.startswith("api/"):
        source[0] = LINK.sub(rf"]({SCHEME}:\1)", source[0]).replace("\n\n```\n", "\n```\n")


def anchor(script: str) -> str:
    """The anchor of a script on the page of examples: ``mnist-py`` of examples/mnist.py."""
    return re.sub(r"[^a-z0-9]+", "-", PurePosixPath(script).name.lower())


def place(app: Sphinx, docname: str, path: str) -> str | None:
    """Where the site shows the file or folder ``path``, from page ``docname``; None if nowhere."""
    relative = app.builder.get_relative_uri
    parts = PurePosixPath(path.rstrip("/"))
    if parts.parts[0] in ("examples", "benchmarks"):
        page = relative(docname, SCRIPTS)
        return f"{page}#{anchor(path)}" if parts.suffix else page
    module = parts.with_suffix("")
    page = f"_modules/{module}"
    if parts.suffix == ".py" and module.parts[0] == "pyro_mlvae":
        return relative(docname, page)
    reference = f"api/{parts.name}"
    return relative(docname, reference) if reference in app.env.found_docs else None


def follow(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let every marked link lead to its place on the site."""
    for node in list(doctree.findall(nodes.reference)):
        scheme, _, path = node.get("refuri", "").partition(":")
        if scheme != SCHEME:
            continue
        found = place(app, docname, path)
        if found is None:
            logger.warning("the site shows no %s of the repository", path, location=node)
            continue
        node["refuri"] = found
        node["internal"] = True
        node["classes"] = [name for name in node["classes"] if name != "external"]


class Scripts(SphinxDirective):
    """``scripts`` and a folder: a section for each script in it, what it is for, and the script."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The sections."""
        folder = Path(self.env.srcdir).parent / self.arguments[0]
        return [self._section(path) for path in sorted(folder.glob("*.py"))]

    def _section(self, path: Path) -> nodes.section:
        self.env.note_dependency(path)
        source = path.read_text(encoding="utf-8")
        section = nodes.section(ids=[anchor(path.name)], names=[path.name])
        section += nodes.title("", path.name)
        section += nodes.paragraph(
            "", (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
        )
        section += nodes.literal_block(source, source, language="python")
        return section


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect both steps, and register the directive."""
    app.add_directive("scripts", Scripts)
    app.connect("config-inited", lambda app, config: config.myst_url_schemes.update({SCHEME: None}))
    app.connect("source-read", mark)
    app.connect("doctree-resolved", follow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
