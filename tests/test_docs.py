"""The documentation: it builds without warnings or network, and shows no code untried."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import tyro
from quick import words
from test_package import LAYERS

import pyro_mlvae
from pyro_mlvae.cli.main import Command
from pyro_mlvae.evaluation import evaluate
from pyro_mlvae.runs.config import RunConfig

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.glob("*.md")),
]
NEEDED = ("sphinx", "furo", "myst_nb")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_sphinx = pytest.mark.skipif(
    bool(MISSING),
    reason=f"the site cannot be built without {', '.join(MISSING)}: pip install '.[docs]'",
)
# Beside the package itself, whose public names are wherever their modules are told of.
MODULES = words("""
    sklearn plotting comparison evaluation checking latents training penalties
    estimators solved guides models networks likelihoods data ops errors
""")
# Tags and attributes by which a page asks for something as it is opened.
ASKING = {"src", "srcset", "poster", "data", "action", "background"}


class Page(HTMLParser):
    """What a page links to and asks for, and the anchors that it has."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.asked, self.styles = set(), [], [], []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._in_style = tag == "style"
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif tag == "a" and name == "href":
                self.links.append(value)
            elif name in ASKING or (tag == "link" and name == "href"):
                self.asked.append(value or "")
            elif name == "style":
                self.styles.append(value)

    def handle_data(self, data):
        if self._in_style:
            self.styles.append(data)


def is_remote(url):
    """Whether a URL leads off the site."""
    return bool(urlsplit(url).netloc) or urlsplit(url).scheme in ("http", "https", "ftp", "mailto")


def asked_by_style(text):
    """What a style sheet asks for, inside url(...) or an @import."""
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(
        r"@import\s+['\"]([^'\"]+)", text
    )


@pytest.fixture(scope="module")
def built(once):
    """The folder of the site."""
    # Where nothing answers: a build that asks the network for anything fails.
    proxies = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    nowhere = dict.fromkeys(proxies, "http://127.0.0.1:9")

    def build(folder):
        # A copy, whose tutorial trains for a moment.
        sources = folder / "docs"
        shutil.copytree(DOCS, sources, ignore=shutil.ignore_patterns("_build"))
        for name in ("examples", "benchmarks"):
            (folder / name).symlink_to(ROOT / name)
        tutorial = (sources / "tutorial.md").read_text("utf-8")
        (sources / "tutorial.md").write_text(re.sub(r"steps=\d+", "steps=5", tutorial), "utf-8")
        command = ["-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-d", str(folder / "doctrees")]
        run = subprocess.run(
            [sys.executable, *command, str(sources), str(folder / "html")],
            env=os.environ | nowhere,
            capture_output=True,
            text=True,
            check=False,
        )
        return [run.returncode, run.stderr]

    folder, (status, errors) = once("site", build)
    assert status == 0, errors
    # The notebook's kernel says that its sockets, on this machine alone, are not encrypted.
    assert not [line for line in errors.splitlines() if line and "[IPKernelApp]" not in line], (
        errors
    )
    return folder / "html"


@pytest.fixture(scope="module")
def site(built):
    """Every page of the site, by its path."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(built.rglob("*.html"))}


@needs_sphinx
def test_the_site_builds_without_warnings(built):
    assert (built / "index.html").is_file()


@needs_sphinx
def test_every_page_of_the_sources_is_on_the_site(built):
    for source in [*DOCS.glob("*.md"), *DOCS.glob("api/*.rst")]:
        assert (built / source.relative_to(DOCS).with_suffix(".html")).is_file(), source.name


@needs_sphinx
def test_every_link_and_image_leads_somewhere(built, site):
    lost = []
    for path, page in site.items():
        for url in [*page.links, *page.asked]:
            if is_remote(url) or url.startswith("data:"):
                continue
            parts = urlsplit(url)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                lost.append(f"{path.relative_to(built)}: no {url}")
            elif parts.fragment and target in site:
                anchors = site[target].anchors
                # Furo's link back to the top, which every browser knows.
                if unquote(parts.fragment) not in anchors and parts.fragment != "top":
                    lost.append(f"{path.relative_to(built)}: no anchor {url}")
    assert not lost, "\n".join(sorted(set(lost)))


@needs_sphinx
def test_no_page_asks_the_network_for_anything(built, site):
    asked = [
        f"{path.relative_to(built)}: {url}"
        for path, page in site.items()
        for url in [*page.asked, *(url for style in page.styles for url in asked_by_style(style))]
        if is_remote(url)
    ]
    for sheet in built.rglob("*.css"):
        asked += [
            f"{sheet.relative_to(built)}: {url}"
            for url in asked_by_style(sheet.read_text(encoding="utf-8"))
            if is_remote(url)
        ]
    assert not asked, "\n".join(asked)


@needs_sphinx
def test_formulas_are_drawn_by_the_browser_itself(built):
    page = (built / "multi-level-vae.html").read_text(encoding="utf-8")
    assert page.count("<math") > 10
    assert not any("mathjax" in url.lower() for url in Page(page).asked)
    # No formula is left as LaTeX anywhere, but in the sources that _modules shows.
    for path in built.rglob("*.html"):
        if "_modules" not in path.parts:
            assert r"\frac" not in path.read_text(encoding="utf-8"), path


@needs_sphinx
@pytest.mark.parametrize("name", sorted(pyro_mlvae.__all__))
def test_every_public_name_is_in_the_reference(site, name):
    found = [path for path, page in site.items() if f"pyro_mlvae.{name}" in page.anchors]
    assert len(found) == 1, f"pyro_mlvae.{name} is described {len(found)} times"


@needs_sphinx
@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_of_a_module_is_in_the_reference(site, module):
    module = importlib.import_module(f"pyro_mlvae.{module}")
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    ]
    anchors = set().union(*(page.anchors for page in site.values()))
    assert names
    for name in names:
        assert {f"{module.__name__}.{name}", f"pyro_mlvae.{name}"} & anchors, f"no {name}"


@needs_sphinx
def test_every_command_and_option_is_on_its_page(built, capsys):
    page = (built / "command-line.html").read_text(encoding="utf-8")
    commands = re.findall(r'id="command-([a-z-]+)"', page)
    assert {"train", "swap", "datasets"} <= set(commands)
    config = (tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes)
    with pytest.raises(SystemExit):
        tyro.cli(Command, prog="pyro-mlvae", args=["--help"], config=config)
    listed = capsys.readouterr().out
    assert all(command in listed for command in commands)
    for command in commands:
        with pytest.raises(SystemExit):
            tyro.cli(Command, prog="pyro-mlvae", args=[command, "--help"], config=config)
        options = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", capsys.readouterr().out)) - {"help"}
        assert options
        section = page.partition(f'id="command-{command}"')[2].partition('id="command-')[0]
        for option in options:
            assert f"--{option}" in section, f"{command} --{option} is not on the page"


@needs_sphinx
def test_no_page_tells_where_it_was_built(built):
    for path in built.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert str(ROOT) not in page, path
        assert f"{sys.prefix}/lib" not in page, path


def test_the_readme_is_short_and_the_paper_cites_what_its_bibliography_has():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
    cited = re.findall(r"@([a-z]+\d{4})", (ROOT / "paper.md").read_text(encoding="utf-8"))
    listed = re.findall(
        r"^@\w+\{(\w+),", (ROOT / "paper.bib").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(cited) == set(listed)
    assert len(listed) == len(set(listed))


@needs_sphinx
def test_the_tutorial_is_shown_with_what_its_cells_gave(built):
    page = (built / "tutorial.html").read_text(encoding="utf-8")
    cells = (DOCS / "tutorial.md").read_text(encoding="utf-8").count("```{code-cell}")
    assert page.count("cell_input") >= cells
    assert len(re.findall(r"<img [^>]*_images/", page)) == 3
    assert "one-shot accuracy on Georgian 0." in page


def test_the_page_on_design_has_the_layers_that_are_tested():
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    table = page.partition("| layer |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    rows = [re.findall(r"`(\w+)`", cell) for cell in cells]
    assert rows == [layer for layer in reversed(LAYERS) if layer != ["__main__"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_of_python_is_run(page):
    # pytest runs what has prompts on these pages; a block without would be shown and never run.
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        first = block.splitlines()[0]
        assert first.startswith(">>> "), f"{page.name}: {first!r} has no prompt"
        assert block.endswith("\n\n"), (
            f"{page.name}: the block of {first!r} must end with an empty line"
        )
    assert "```py\n" not in text
    assert "```python3\n" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_of_the_repository(page):
    # As GitHub follows them; anchors are looked up on the site.
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for url in re.findall(r"\]\(([^)\s]+)\)", text):
        if not is_remote(url) and urlsplit(url).path:
            assert (page.parent / urlsplit(url).path).exists(), f"{page.name}: no {url}"


def keys(part, above=()):
    """The dotted names of what metrics.json holds; numbers and protocols are no names."""
    for key, value in part.items():
        if not key[0].isdigit():
            yield key, (*above, key)
            if isinstance(value, dict):
                yield from keys(value, (*above, key))
        elif isinstance(value, dict):
            yield from keys(value, above)


def test_every_key_of_the_metrics_is_explained(quick_evaluation):
    data = pyro_mlvae.load_dataset("digits")
    small = {"hidden": (8,), "content_dim": 2, "style_dim": 2}
    model, guide = RunConfig(**small).build(data.event_shape)
    vae = RunConfig(**small, model="vae").build(data.event_shape)
    seen, unseen = (data.sample(80, seed=seed) for seed in (0, 1))
    page = (DOCS / "run-folder.md").read_text(encoding="utf-8")
    explained = {name for code in re.findall(r"`([^`\n]+)`", page) for name in code.split(".")}
    for trained_groups in (None, ["0"]):
        options = {"vae": vae, "data_name": "digits", "trained_groups": trained_groups}
        metrics = evaluate(model, guide, guide, seen, unseen, ks=(1, 2), **options)
        missing = [".".join(path) for key, path in keys(metrics) if key not in explained]
        assert not missing, f"docs/run-folder.md does not explain {missing}"
