"""report.html: a run folder as one page to read, print and send, which needs nothing beside it.

What the page says stands in ``templates/``; here are the facts that fill them. Numbers are those of
metrics.json; what is null there is left out.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.metrics import FORMAT_VERSION
from pyro_mlvae.files import write_atomically
from pyro_mlvae.runs import folder as runs
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.config_file import load_config, read_config
from pyro_mlvae.runs.explorer import explorer_section
from pyro_mlvae.runs.in_words import command_line, pair_in_words, scaling_in_words
from pyro_mlvae.runs.page import render
from pyro_mlvae.runs.split_file import load_split

# Figures have 200 dots an inch, and CSS 96 pixels; charts are wider than high by this, grids are
# not.
CSS_PIXELS, CHART = 96 / 200, 1.5
JSON = partial(json.loads, parse_constant=lambda _: None)  # NaN is not known
PARTS = ("probe", "evidence", "unseen", "swap", "factors", "diagnostics", "active_units")
# A page that is larger is hardly sent; the explorer is then a page of its own.
MOST_BYTES = 5_000_000
# Larger figures, those of coloured pictures, are packed on the way: they lose 40 % of their bytes.
PACKED, WEBP_SIDE = 100_000, 16_383
TITLES = {
    "mlvae": "ML-VAE",
    "vae": "Plain VAE",
    "three-level": "Three-level ML-VAE",
    "mixture-prior": "ML-VAE with a learned prior",
}


def write_report(folder: str | Path) -> Path:
    """Write report.html into a run folder, from the files there, and return its path.

    The page is one file: figures and looks are inside it, and it fetches nothing. The same files
    give the same page.

    Raises:
        InputError: config.json or metrics.json is missing, or a file is not what this version
            writes.

    >>> write_report("a")
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: a is not a finished run folder: config.json is missing;
        name one from train
    """
    folder = Path(folder)
    toc: list[tuple[str, str]] = []
    config, data = read_config(folder)
    given = {name: value for name, value in asdict(config).items() if value is not None}
    page: dict[str, Any] = {
        "title": _title(config),
        "command": command_line(folder, config),
        "settings": json.dumps(
            {**given, "event_shape": data["event_shape"]}, indent=2, ensure_ascii=False
        ),
        "toc": toc,
        "others": [],
    }
    images = _images(folder / runs.FIGURES)
    with _reading(folder / runs.METRICS) as metrics:
        page["facts"] = _facts(folder, config, data, metrics["seconds"])
        page |= _numbers(metrics, images=images, level=2, toc=toc)
    for file in sorted(folder.glob("metrics-*.json")):
        with _reading(file) as other:
            page["others"].append(
                {"data": other["data"], **_numbers(other, images={}, level=3, toc=[])}
            )
    explorer = explorer_section(folder) if (folder / runs.EXPLORER).is_file() else {}
    html = render("report.html", **page, **explorer)
    if len(html) > MOST_BYTES and explorer:
        explorer = {"elsewhere": f"pyro-mlvae explore {shlex.quote(str(folder))}"}
        html = render("report.html", **page, **explorer)
    return _write(folder / runs.REPORT, html)


def write_explorer(folder: str | Path, out: Path) -> Path:
    """Write the explorer of a run folder as a page of its own, and return its path.

    Raises:
        InputError: config.json or explorer.safetensors is missing, or not what this version writes.
    """
    config, _ = load_config(folder)
    return _write(out, render("page.html", title=_title(config), **explorer_section(Path(folder))))


def _write(path: Path, html: str) -> Path:
    with write_atomically(path) as temporary:
        # Names of files may hold bytes that are no text.
        temporary.write_text(html, "utf-8", "replace")
    return path


def _title(config: RunConfig) -> str:
    return f"{TITLES.get(config.model) or config.model.rpartition(':')[2]} on {config.data}"


def _numbers(metrics: dict[str, Any], **options: Any) -> dict[str, str]:
    """What a metrics.json says, as HTML."""
    if not all(isinstance(metrics[part], dict | None) for part in PARTS):
        raise TypeError("a part is no mapping")
    metrics["elbo"]["per_observation"]
    return {
        "headline": render("headline.html", m=metrics),
        "sections": render("sections.html", m=metrics, **options),
    }


def _facts(
    folder: Path, config: RunConfig, data: Mapping[str, Any], seconds: float
) -> list[tuple[str, str]]:
    """What was trained, on what, and how long it took: names and texts."""
    shape = " \N{MULTIPLICATION SIGN} ".join(map(str, data["event_shape"]))
    facts = [
        ("Data", f"{config.data}, {shape} values each"),
        ("Held out", _held_out(folder, config)),
        ("Model", pair_in_words(config)),
        ("Networks see", scaling_in_words(data["scaling"], uint8=data["uint8"])),
        (
            "Latent space",
            f"{config.content_dim} dimensions of content, {config.style_dim} of style",
        ),
        ("Training", _training(folder / runs.HISTORY)),
        ("Training of the plain VAE", _training(folder / runs.VAE / runs.HISTORY)),
        ("Evaluation", _duration(seconds)),
    ]
    return [(name, fact) for name, fact in facts if fact]


def _held_out(folder: Path, config: RunConfig) -> str:
    recorded = load_split(folder)
    if recorded is None:
        share = f"{config.test_fraction:.0%} of every group"
    else:
        _, train, validation, test = recorded.part.bincount(minlength=4).tolist()
        whole = train + validation + test
        share = f"{test:,} of {whole:,} observations, and {validation:,} for validation"
    groups = (
        f"whole groups: {', '.join(config.hold_out_groups)}; " if config.hold_out_groups else ""
    )
    return groups + share


def _training(history: Path) -> str:
    if not history.is_file():
        return ""
    with _reading(history, lambda text: list(csv.DictReader(text.splitlines()))) as rows:
        steps = f"{int(rows[-1]['steps']):,} steps in " if rows and rows[-1].get("steps") else ""
        return (
            f"{steps}{len(rows):,} epochs, {_duration(sum(float(row['seconds']) for row in rows))}"
        )


def _duration(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 120.0 else f"{round(seconds / 60.0)} min"


def _images(folder: Path) -> dict[str, dict[str, Any]]:
    """The figures by name: where the page has them, and their size in CSS pixels."""
    images = {}
    for path in sorted(folder.glob("*.png")):
        data = path.read_bytes()
        # After its signature a PNG says its size in bytes 16 to 23.
        if not data.startswith(b"\x89PNG\r\n") or len(data) < 24:
            raise InputError(f"{path} is damaged (it is no PNG): remove it, or train the run again")
        width, height = (
            round(int.from_bytes(data[i : i + 4], "big") * CSS_PIXELS) for i in (16, 20)
        )
        kind = "png"
        if len(data) > PACKED and max(width, height) < WEBP_SIDE * CSS_PIXELS:
            kind, data = "webp", _packed(path)
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        chart = width > CHART * height
        images[path.stem] = {"source": source, "width": width, "height": height, "chart": chart}
    return images


def _packed(path: Path) -> bytes:
    """A PNG as lossless WebP."""
    from PIL import Image

    packed = io.BytesIO()
    try:
        with Image.open(path) as figure:
            figure.convert("RGB").save(packed, "WEBP", lossless=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error}): remove it, or train the run again"
        ) from None
    return packed.getvalue()


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
    except (
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
        OverflowError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file} is damaged ({error!r}): train or evaluate the run again"
        ) from None
