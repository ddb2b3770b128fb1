"""Command lines with wrong and extreme arguments.

Parsing, validation, loading, splitting, building and writing are those of the library. What takes long is
replaced: training makes no step, and nothing is evaluated or drawn but an empty figure. ``WholeCommands``
replaces nothing.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from trial import Broken, Guard, Parts
from words import FLAGS, NAMES, NUMBERS, PATHS

from pyro_mlvae import runs
from pyro_mlvae.cli import comparing, drawing, evaluating, finishing, training
from pyro_mlvae.cli.main import run
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.training import EpochRecord, History

SMALL = (
    *("--data", "npz:data.npz", "--hidden", "4", "--content-dim", "2", "--style-dim", "2"),
    *("--epochs", "1", "--device", "cpu"),
)
COMPARE = (
    *(*SMALL, "--estimators", "trace", "--particles", "1", "--seconds", "0", "--draws", "2"),
    *("--reference-draws", "4", "--groups", "2", "--no-memory"),
)
# Command lines that are right, from which the others are made.
RIGHT: tuple[Parts, ...] = (
    ("train", "--out", "out", *SMALL, "--no-vae"),
    ("train", "--out", "out", *SMALL),
    ("train", "--resume", "run", "--epochs", "2"),
    ("train", "--out", "run", "--overwrite", *SMALL, "--no-vae"),
    ("train", "--out", "out", "--data", "folder:images", "--image-size", "8", "--grayscale", *SMALL[2:]),
    ("train", "--out", "out", "--hold-out-groups", "a", "b", "--seed", "3", *SMALL),
    ("train", "--out", "out", "--model", "own.py:Model", "--guide", "own.py:Guide", *SMALL),
    ("train", "--out", "out", "--elbo", "group-renyi", "--alpha", "0.3", "--num-particles", "2", *SMALL),
    ("train", "--out", "out", "--hsic", "1", "--beta-style", "2", "--warmup-steps", "3", *SMALL),
    ("evaluate", "run", "--device", "cpu"),
    ("evaluate", "run", "--data", "npy:arrays", "--data-root", "."),
    ("compare-elbos", "--out", "out", *COMPARE),
    ("compare-elbos", "--out", "out", "--data", "linear-gaussian", *COMPARE[8:]),
    ("swap", "run", "--out", "out.png", "--content", "1", "2", "--style", "3", "--evidence", "1"),
    ("interpolate", "run", "--out", "out.png", "--steps", "3", "--vary", "both"),
    ("generate", "run", "--out", "out.png", "--rows", "2", "--columns", "2", "--seed", "1"),
    ("traverse", "run", "--out", "out.svg", "--which", "style", "--content", "2"),
    ("embed", "run", "--out", "out.npz", "--data", "npz:data.npz", "--device", "cpu"),
    ("datasets", "--data-root", "."),
)
COMMANDS = (*(line[0] for line in RIGHT), "trian", "help", "--version", "")
OWN = """
from pyro_mlvae import MLVAE, ProductOfNormals

class Model(MLVAE):
    pass

class Guide(ProductOfNormals):
    pass
"""


def make_sandbox(folder: Path) -> None:
    """What command lines work on, in ``work``, and beside it ``canary``, which is none of theirs."""
    work = folder / "work"
    for name in ("arrays", "images/a", "images/b", "empty", "broken", "../canary"):
        (work / name).mkdir(parents=True)
    (folder / "canary" / "canary.txt").write_text("sings")
    (work / "canary.txt").write_text("sings")
    (work / "own.py").write_text(OWN)
    (work / "broken.py").write_text("raise OSError('of its own')")
    (work / "broken" / runs.CONFIG).write_text("{}")
    generator = np.random.default_rng(0)
    x, group = generator.random((40, 1, 8, 8), dtype=np.float32), np.array([*"abcd"] * 10)
    np.savez(work / "data.npz", x=x, group=group)
    np.save(work / "arrays/x.npy", x)
    np.save(work / "arrays/group.npy", group)
    for i, pixels in enumerate((x[:20, 0] * 255).astype(np.uint8)):
        Image.fromarray(pixels).save(work / f"images/{'ab'[i % 2]}/{i}.png")
    config = RunConfig(data="npz:data.npz", hidden=(4,), content_dim=2, style_dim=2, epochs=1)
    for folder, each in ((work / "run", config), (work / "run/vae", config.plain_vae())):
        folder.mkdir()
        runs.save_config(folder, each, (1, 8, 8))
        runs.save_weights(folder, *each.build((1, 8, 8)))


class Commands:
    """Thousands of command lines, in one process.

    Args:
        folder: an empty one, in which everything happens.
    """

    name, fixed, seconds = "commands", 0, 10.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_sandbox(folder / "whole")
        self.work = folder / "box" / "work"

    def prepare(self) -> None:
        self.guard = Guard()
        self._restore()
        os.environ["HOME"] = str(self.work)
        replace_what_takes_long()

    def parts(self, seed: int, index: int) -> Parts:
        chance = random.Random(f"{seed} commands {index}")
        line = list(chance.choice(RIGHT))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            _spoil(line, chance)
        return tuple(line)

    def attempt(self, parts: Parts) -> str:
        out, err = io.StringIO(), io.StringIO()
        self.guard.start(lambda path: self._may_write(path, parts), may_start=self.may_start(parts))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    status = run(parts)
                except SystemExit as exit_:
                    status = exit_.code or 0
        finally:
            self.guard.watching = False
            if self.guard.wrote:
                self._restore()
        self.guard.stop()
        check_said(status, out.getvalue(), err.getvalue())
        return f"status {status}"

    def may_start(self, parts: Parts) -> bool:
        """Whether the command line may start processes: none of these measures memory."""
        return False

    def _restore(self) -> None:
        shutil.rmtree(self.folder / "box", ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.folder / "box")
        os.chdir(self.work)

    def _may_write(self, path: Path, parts: Parts) -> bool:
        """Whether a command line names that place; only in the sandbox it is then really written."""
        named = [name for part in parts for name in (part, part.partition("=")[2]) if name]
        places = [Path(os.path.abspath(self.work / name)) for name in named]  # noqa: PTH100
        may = any(
            path.is_relative_to(place)
            or place.is_relative_to(path)
            or (path.parent == place.parent and path.name.startswith(f".{place.stem}."))
            for place in places
        )
        if may and not path.is_relative_to(self.folder / "box"):
            raise PermissionError(13, "Permission denied")
        return may


class WholeCommands(Commands):
    """Command lines from end to end, with nothing replaced."""

    name, seconds = "whole commands", 60.0

    def prepare(self) -> None:
        self.guard = Guard()
        self._restore()

    def parts(self, seed: int, index: int) -> Parts:
        chance = random.Random(f"{seed} whole {index}")
        right = RIGHT[index % len(RIGHT)]
        line = list(right)
        # As it is the first time, then with one thing changed; what trains for days is no hang.
        while index >= len(RIGHT) and (tuple(line) == right or any(_is_large(word) for word in line)):
            line = list(right)
            _spoil(line, chance)
        return tuple(line)

    def may_start(self, parts: Parts) -> bool:
        return "compare-elbos" in parts

    def _may_write(self, path: Path, parts: Parts) -> bool:
        # PyTorch has a folder there, and the measurement of memory a question for its process.
        temporary = path.is_relative_to(tempfile.gettempdir()) and not path.is_relative_to(self.folder)
        return temporary or super()._may_write(path, parts)


def check_said(status: object, out: str, err: str) -> None:
    """Raise unless status and streams are as the contract says."""
    if "Traceback" in err:
        raise Broken(f"a traceback was printed: {err[-500:]}")
    if status == 0:
        return
    if status != 2:
        raise Broken(f"the status is {status!r}")
    last = err.rstrip("\n").split("\n")[-1]
    sound = last.startswith("pyro-mlvae: ") and last.isprintable() and len(last) > 20
    if not sound or "---" in last[:30]:
        raise Broken(f"the last line is {last[:300]!r}")
    if out:
        raise Broken(f"a result was printed: {out[:300]!r}")
    said = [line for line in err.split("\n") if line.startswith("pyro-mlvae: ")]
    if len(set(said)) < len(said) or "\N{BOX DRAWINGS LIGHT ARC DOWN AND RIGHT}" in err:
        raise Broken(f"an error was printed twice: {err[-500:]!r}")


def _is_large(word: str) -> bool:
    return word.isdigit() and len(word) > 3


def _spoil(line: list[str], chance: random.Random) -> None:
    """Change one thing in a command line."""
    place = chance.randrange(len(line)) if line else 0
    hostile = chance.choice(chance.choice((NUMBERS, PATHS, NAMES, FLAGS)))
    how = chance.randrange(8)
    values = [i for i, word in enumerate(line) if i and not word.startswith("--")]
    if how < 4 and values:
        place = chance.choice(values)
        number = line[place].replace(".", "").isdigit() and chance.random() < 0.8
        line[place] = chance.choice(NUMBERS) if number else hostile
    elif how == 4:
        values = chance.choices((hostile, chance.choice(NUMBERS)), k=chance.randrange(3))
        line += [chance.choice(FLAGS), *values]
    elif how == 5 and line:
        del line[place]
    elif how == 6 and line:
        cut = chance.randrange(len(line[place]) + 1)
        line[place] = line[place][:cut] + chance.choice(("", "=", hostile))
    elif line:
        line[0] = chance.choice(COMMANDS)


def replace_what_takes_long() -> None:
    """Make training one minibatch, which is formed but not learned from, and the rest nothing."""
    record = EpochRecord(1, 0.0, 0.0, ElboTerms(0.0, {}, 1, 1))

    def fit(model: Any, guide: Any, sampler: Any, *, callback: Any, **_: Any) -> History:
        next(sampler.epoch(0))
        callback(record)
        return History([record])

    def nothing(*_: Any, **__: Any) -> Any:
        return {"seconds": 0.0, "rows": []}

    def empty_figure(*_: Any, **__: Any) -> Figure:
        return Figure((1, 1))

    training.fit = fit  # type: ignore[assignment]
    for module, names in (
        (training, ("check",)),
        (finishing, ("evaluate", "draw_run", "write_report")),
        (evaluating, ("evaluate", "write_report")),
        (comparing, ("check", "compare_elbos", "write_csv", "draw_comparison")),
    ):
        for name in names:
            setattr(module, name, nothing)
    for name in ("comparison_table", "advice"):
        setattr(comparing, name, lambda _: "")
    for module in (training, evaluating):
        module.print_results = lambda *_: None  # type: ignore[assignment]
    figures = ("swap_grid", "interpolation_figure", "generation_figure", "traversal_figure")
    plotting = {name: getattr(drawing.plotting, name) for name in drawing.plotting.__all__}
    drawing.plotting = SimpleNamespace(**plotting | dict.fromkeys(figures, empty_figure))
