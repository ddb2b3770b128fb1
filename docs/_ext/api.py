"""The reference: every public name of a module, from its docstring, under the shortest name it has.

``.. api:: pyro_mlvae.guides`` writes a table of the names and then each of them. Nothing is listed
by hand: what ``__all__`` has is there, or, where a module has none, what it defines without an
underscore.
"""

import importlib
import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext import napoleon
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective

ROOT = "pyro_mlvae"
BACK = re.compile(rf'(?P<before><a class="viewcode-back" href="[^"#]*)#(?P<name>{ROOT}[^"]*)"')


def public_names(module: types.ModuleType) -> list[str]:
    """The public names of a module."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    found = []
    for name, value in vars(module).items():
        own = callable(value) and getattr(value, "__module__", None) == module.__name__
        if own and not name.startswith("_"):
            found.append(name)
    return found


def shortest(module: types.ModuleType, name: str) -> str:
    """The name by which a user imports it."""
    root, value = importlib.import_module(ROOT), getattr(module, name)
    if name in root.__all__ and getattr(root, name) is value:
        return f"{ROOT}.{name}"
    return f"{module.__name__}.{name}"


def is_at_home(module: types.ModuleType, value: Any) -> bool:
    """Whether the module, or one below it, defines the value and does not only pass it on."""
    home = getattr(value, "__module__", None)
    home = home if inspect.isclass(value) or inspect.isfunction(value) else module.__name__
    return f"{home}.".startswith(f"{module.__name__}.")


def entry(dotted: str, value: Any) -> list[str]:
    """The directive that documents one name."""
    if inspect.isclass(value):
        dunders = [name for name in ("__add__", "__call__") if name in vars(value)]
        special = [f"   :special-members: {', '.join(dunders)}"] if dunders else []
        inherits = [] if len(value.__mro__) == 2 else ["   :show-inheritance:"]
        return [f".. autoclass:: {dotted}", "   :members:", *special, *inherits, ""]
    if inspect.isfunction(value):
        return [f".. autofunction:: {dotted}", ""]
    # A constant: its own docstring would be that of its type.
    value = ", ".join(value) if isinstance(value, dict) else value
    return [f".. py:data:: {dotted}", f"   :value: {value}", ""]


class Api(SphinxDirective):
    """``.. api:: MODULE``; ``:only:`` these names, or ``:table:`` and what no other page tells."""

    required_arguments = 1
    option_spec: ClassVar = {"only": directives.unchanged, "table": directives.flag}

    def run(self) -> list[nodes.Node]:
        """The nodes of the module's docstring, the table and the names."""
        module = importlib.import_module(self.arguments[0])
        names = self.options.get("only", "").split() or sorted(public_names(module), key=str.lower)
        lines = [".. autosummary::", "   :nosignatures:", ""]
        lines += [
            f"   ~{shortest(module, name)}" for name in names if callable(getattr(module, name))
        ] + [""]
        if "table" in self.options:
            # What is told of on a page of its own is not told again.
            pages = Path(self.env.srcdir).glob("api/*.rst")
            told = set(
                re.findall(r"api:: ([\w.]+\.\w+)", " ".join(page.read_text() for page in pages))
            )
            homes = {
                name: ".".join(getattr(module, name).__module__.split(".")[:2]) for name in names
            }
            names = [name for name in names if homes[name] not in told]
        else:
            lines = [*inspect.cleandoc(module.__doc__ or "").splitlines(), "", *lines]
        for name in names:
            if is_at_home(module, getattr(module, name)):
                lines += entry(shortest(module, name), getattr(module, name))
        container = nodes.Element()
        self.state.nested_parse(
            StringList(lines, source=module.__file__), self.content_offset, container
        )
        return container.children


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: nodes.Element
) -> nodes.Element | None:
    """Follow a name of this library's that a docstring writes otherwise than the reference does.

    ``GroupedGuide``, or ``pyro_mlvae.guides.GroupedGuide``, is documented as
    ``pyro_mlvae.GroupedGuide``.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if target.startswith(f"{ROOT}.") and inspect.ismodule(_imported(target)):
        page = f"api/{target.removeprefix(f'{ROOT}.').split('.')[0]}"
        if page not in env.found_docs:
            return None
        uri = app.builder.get_relative_uri(env.docname or node["refdoc"], page)
        return nodes.reference("", "", contnode, internal=True, refuri=uri)
    name = documented(env, target)
    if name is None:
        # What is not public has no place in the reference, but it must at least be there.
        first = _own_path(target)[0]
        modules = [module for name, module in list(sys.modules.items()) if name.startswith(ROOT)]
        return contnode if any(hasattr(module, first) for module in modules) else None
    entry = env.get_domain("py").objects[name]
    uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
    return nodes.reference("", "", contnode, internal=True, refuri=f"{uri}#{entry.node_id}")


def documented(env: BuildEnvironment, dotted: str) -> str | None:
    """The name under which the reference has what is also called ``dotted``."""
    path = _own_path(dotted)
    found = [name for name in env.get_domain("py").objects if name.split(".")[-len(path) :] == path]
    return min(found, key=len, default=None)


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Link what a page sets as code to the reference, where it is a name of this library's.

    So pages need no roles, which GitHub would show. A name in lower case is taken for one only if
    the package itself has it: ``swap`` may be the command, and ``content`` a site.
    """
    if docname.startswith("api/"):
        return
    top = importlib.import_module(ROOT).__all__
    for node in list(doctree.findall(nodes.literal)):
        text = node.astext()
        meant = text in top or re.fullmatch(rf"{ROOT}(\.\w+)+|[A-Z]\w*[a-z]\w*|HSIC", text)
        name = documented(app.env, text) if meant else None
        if name is None or _within(node, nodes.reference, nodes.title):
            continue
        entry = app.env.get_domain("py").objects[name]
        uri = f"{app.builder.get_relative_uri(docname, entry.docname)}#{entry.node_id}"
        node.replace_self(nodes.reference("", "", node.deepcopy(), internal=True, refuri=uri))


def _within(node: nodes.Node, *kinds: type) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def lead_back(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: Any) -> None:
    """Let the links of highlighted sources lead to the name that the reference has."""
    if not pagename.startswith(f"_modules/{ROOT}"):
        return

    def mended(link: re.Match[str]) -> str:
        name = documented(app.env, link["name"])
        return f'{link["before"]}#{name or link["name"]}"'

    context["body"] = BACK.sub(mended, context["body"])


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what another library puts into a class, such as ``set_fit_request``."""
    home = getattr(value, "__module__", None)
    return True if callable(value) and home and home.split(".")[0] == "sklearn" else None


class Docstring(GoogleDocstring):
    """Google's style, in which what is returned and what a property is have no type before a colon.

    Annotations say the types here, so a colon in such a text is the text's own.
    """

    def _consume_returns_section(
        self, preprocess_types: bool = False
    ) -> list[tuple[str, str, list[str]]]:
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if lines else []

    def _consume_inline_attribute(self) -> tuple[str, list[str]]:
        return "", self._dedent(self._consume_to_end())


def _own_path(dotted: str) -> list[str]:
    """The parts of a name after its modules, which are in lower case."""
    path = dotted.split(".")
    while len(path) > 1 and path[0].islower():
        path = path[1:]
    return path


def _imported(dotted: str) -> Any:
    try:
        return importlib.import_module(dotted)
    except ImportError:
        return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and what helps it."""
    app.add_directive("api", Api)
    napoleon.GoogleDocstring = Docstring
    app.connect("missing-reference", resolve)
    app.connect("doctree-resolved", link_names)
    app.connect("autodoc-skip-member", skip)
    app.connect("html-page-context", lead_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
