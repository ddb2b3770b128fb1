"""report.html: a run folder as one page to read, print and send, which needs nothing beside it.

Numbers are those of metrics.json, null is left out; words are in report.toml, looks in the template.
"""

from __future__ import annotations

import base64
import csv
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.metrics import FORMAT_VERSION
from pyro_mlvae.files import write_atomically
from pyro_mlvae.runs import folder as runs
from pyro_mlvae.runs.command import command_line
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.config_file import load_config

# Figures have 200 dots an inch, and CSS 96 pixels; charts are wider than high by this, grids are not.
CSS_PIXELS, CHART = 96 / 200, 1.5
# In report.toml: a place in what is known, and a format.
PLACE = re.compile(r"\{([^{}|]+)(?:\|([^{}]+))?\}")
JSON = partial(json.loads, parse_constant=lambda _: None)  # NaN is not known
ONE = re.compile(r"\b1 (observation|group|dimension)s\b")
Known = Mapping[str, Any]


class Html(str):
    """What is HTML already; every other text is escaped on its way into the page."""


def write_report(folder: str | Path) -> Path:
    """Write report.html into a run folder, from the files there, and return its path.

    The page is one file: figures and looks are inside it, and it neither runs a script nor fetches
    anything. The same files give the same page.

    Raises:
        InputError: config.json or metrics.json is missing, or a file is not what this version writes.

    >>> write_report("a")
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: a is not a finished run folder: config.json is missing;
        name one from train
    """
    folder, package = Path(folder), resources.files("pyro_mlvae.runs")
    words = tomllib.loads((package / "report.toml").read_text("utf-8"))
    template = Template((package / "report.html.template").read_text("utf-8"))
    parts = {name: _join(part) for name, part in _parts(folder, words).items()}
    with write_atomically(folder / runs.REPORT) as temporary:
        # Names of files may hold bytes that are no text.
        temporary.write_text(template.substitute(parts), "utf-8", "replace")
    return folder / runs.REPORT


def _parts(folder: Path, words: Known) -> dict[str, str]:
    """What the template leaves open."""
    config, event_shape = load_config(folder)
    title = f"{words['models'].get(config.model) or config.model.rpartition(':')[2]} on {config.data}"
    given = {name: value for name, value in asdict(config).items() if value is not None}
    with _reading(folder / runs.METRICS) as metrics:
        facts = _facts(folder, config, event_shape, metrics["seconds"], words)
        head = _join(_headline(metrics, words), facts)
        sections = [*_sections(metrics, words, _figures(folder / runs.FIGURES, words["figures"]))]
    for number, file in enumerate(sorted(folder.glob("metrics-*.json")), 1):
        with _reading(file) as other:
            inner = (_join(_tag("h3", heading), body) for _, heading, body in _sections(other, words, {}))
            body = _join(_headline(other, words), *inner)
            sections.append((f"other-{number}", f"On other data: {other['data']}", body))
    links = _join(*(_tag("li", _tag("a", heading, href=f"#{name}")) for name, heading, _ in sections))
    main = _join(*(_tag("section", _tag("h2", heading), body, id=name) for name, heading, body in sections))
    listed = json.dumps({**given, "event_shape": event_shape}, indent=2, ensure_ascii=False)
    page = {"title": title, "head": head, "links": links, "sections": main}
    return {**page, "command": command_line(folder, config), "settings": listed}


def _headline(metrics: Known, words: Known) -> Html:
    """The number that matters with its control, and what to know beside it."""
    headlines = ([_fill(text, metrics) for text in headline] for headline in words["headlines"])
    texts = next((texts for texts in headlines if texts[0]), [])
    return _join(
        *(_tag("p", text, class_="beside" if i else "lead") for i, text in enumerate(texts) if text)
    )


def _facts(
    folder: Path, config: RunConfig, event_shape: Sequence[int], seconds: float, words: Known
) -> Html:
    """What was trained, on what, and how long it took."""
    known = {
        "config": asdict(config),
        "shape": " \N{MULTIPLICATION SIGN} ".join(map(str, event_shape)),
        "unseen": ", ".join(config.hold_out_groups) or None,
        "share": None if config.hold_out_groups else config.test_fraction,
        "training": _training(folder / runs.HISTORY),
        "vae_training": _training(folder / runs.VAE / runs.HISTORY),
        "evaluation": _duration(seconds),
    }
    facts = ((name, _fill(text, known)) for name, text in words["facts"])
    return _tag("dl", *(_tag("div", _tag("dt", name), _tag("dd", fact)) for name, fact in facts if fact))


def _training(history: Path) -> str | None:
    if not history.is_file():
        return None
    with _reading(history, lambda text: list(csv.DictReader(text.splitlines()))) as rows:
        steps = f"{int(rows[-1]['steps']):,} steps in " if rows and rows[-1].get("steps") else ""
        return f"{steps}{len(rows):,} epochs, {_duration(sum(float(row['seconds']) for row in rows))}"


def _duration(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 120.0 else f"{round(seconds / 60.0)} min"


def _sections(metrics: Known, words: Known, figures: dict[str, Html]) -> Iterator[tuple[str, str, Html]]:
    """Name, heading and body of every section that has something to show."""
    known = {**metrics, "words": words["words"].get(metrics["elbo"]["units"])}
    if metrics["warnings"]:
        yield "warnings", "Warnings", _tag("ul", *(_tag("li", warning) for warning in metrics["warnings"]))
    for name, section in words["sections"].items():
        said = [_fill(text, known) for text in section.get("text", [])] if metrics.get(name) else []
        tables = [_table(known, table) for table in section.get("tables", [])]
        # The last section names none: it takes those that are left.
        drawn = [figures.pop(stem) for stem in section.get("figures", [*figures]) if stem in figures]
        body = _join(*(_tag("p", text) for text in said if text), *tables)
        if body or drawn:
            grid = drawn and _tag("div", *drawn, class_="figures")
            yield name.replace("_", "-"), section["title"], _join(body, grid)


def _table(known: Known, table: Known) -> Html | None:
    """A table of numbers, named by their places; a row whose first number is not known is left out."""
    only, heads, form = table.get("only", ""), table["heads"], table.get("form", ".1%")
    names = [str(name) for name in _at(known, table.get("each", "")) or ()]
    entries = [(str(i), name.removeprefix(only)) for i, name in enumerate(names) if name.startswith(only)]
    found: dict[Html, list[Html | None]] = {}
    for label, *places in table["rows"]:
        for i, k in entries if "{k}" in label else [("", "")]:
            own = [_cell(known, place.replace("{k}", k).replace("{i}", i), form) for place in places]
            name = _fill(label, {**known, "k": k.replace("_", " ")})
            if name and own[0] is not None:
                found[name] = own
    columns = [column for column in range(len(heads)) if any(cells[column] for cells in found.values())]
    if not columns:
        return None
    lines = []
    for name, cells in found.items():
        site = next((word for word in name.split() if word in ("content", "style")), "neither")
        shown = (_tag("td", cells[column] or Html("&ndash;")) for column in columns)
        lines.append(_tag("tr", _tag("th", name, scope="row", class_=site), *shown))
    top = (_tag("th", _fill(heads[column], known), scope="col") for column in columns)
    head = _tag("thead", _tag("tr", _tag("td"), *top))
    body = _tag("caption", table["caption"]), head, _tag("tbody", *lines)
    return _scroll(_tag("table", *body), table["caption"])


def _cell(known: Known, place: str, form: str) -> Html | None:
    """The number at a place, with its standard error where it has one."""
    place, _, error_place = place.partition(" ± ")
    value, error = _at(known, place), _at(known, error_place)
    if isinstance(value, Mapping):
        value, error = value["accuracy"], value["standard_error"]
    shown = _shown(value, form)
    if shown is None or error is None:
        return shown
    return _join(shown, " ", _tag("span", "± ", _shown(error, form), class_="error"))


def _fill(text: str, known: Known) -> Html | None:
    """HTML of this package's own with what is known in its places; None where something is not known."""
    found = [_shown(_at(known, place[1]), place[2]) for place in PLACE.finditer(text)]
    return None if None in found else Html(ONE.sub(r"1 \1", PLACE.sub(lambda _: found.pop(0) or "", text)))


def _at(known: Any, place: str) -> Any:
    """What stands at a place such as ``probe.content.1.accuracy``; None where there is no such place."""
    for part in place.split("."):
        places = {str(i): value for i, value in enumerate(known)} if isinstance(known, list) else known
        known = places.get(part) if places is not None else None
    return known


def _shown(value: Any, form: str | None) -> Html | None:
    """A text, or a number as it is read with all its digits for machines; of a list the sum."""
    if value is None or form is None:
        return None if value is None else _join(str(value))
    value = sum(value) if isinstance(value, list) else value
    return _tag("data", Html(f"{value:{form}}".replace("-", "&minus;")), value=repr(value))


def _figures(folder: Path, words: Known) -> dict[str, Html]:
    figures = {}
    for path in sorted(folder.glob("*.png")):
        data = path.read_bytes()
        # After its signature a PNG says its size in bytes 16 to 23.
        if not data.startswith(b"\x89PNG\r\n") or len(data) < 24:
            raise InputError(f"{path} is damaged (it is no PNG): remove it, or train the run again")
        width, height = (round(int.from_bytes(data[i : i + 4], "big") * CSS_PIXELS) for i in (16, 20))
        said = words.get(path.stem, {"alt": f"Figure {path.stem}", "look": path.stem})
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        image = _tag("img", src=source, alt=said["alt"], width=str(width), height=str(height))
        chart = width > CHART * height
        body = _scroll(image, said["alt"]) if chart else image, _tag("figcaption", said["look"])
        figures[path.stem] = _tag("figure", *body, class_="chart" if chart else "grid")
    return figures


def _scroll(wide: Html, label: str) -> Html:
    """A box in which what is wide scrolls, by the keyboard too, and the page does not."""
    return _tag("div", wide, class_="scroll", role="region", tabindex="0", aria_label=label)


def _tag(name: str, *children: object, **attributes: str) -> Html:
    """An element; attributes are named as ``class_`` and ``aria_label`` for what Python cannot name."""
    start = "".join(f' {k.strip("_").replace("_", "-")}="{escape(v)}"' for k, v in attributes.items())
    return Html(f"<{name}{start}>" + ("" if name == "img" else f"{_join(*children)}</{name}>"))


def _join(*parts: object) -> Html:
    """Parts one after the other, without those that are empty or None."""
    return Html("".join(part if isinstance(part, Html) else escape(str(part)) for part in parts if part))


@contextmanager
def _reading(file: Path, parse: Callable[[str], Any] = JSON) -> Iterator[Any]:
    """What a file of the run holds; whatever turns out to be wrong with it is an InputError."""
    if not file.is_file():
        raise InputError(f"{file} is missing: pyro-mlvae evaluate {file.parent} writes it")
    try:
        value = parse(file.read_text("utf-8"))
        if isinstance(value, dict) and value["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version {value['format_version']} is not of this pyro_mlvae")
        yield value
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is damaged ({error!r}): train or evaluate the run again") from None
