"""Commands on a trained run, ``evaluate``, ``swap`` and the like: their options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class OfRun:
    """What they share: a run, observations of some data, and where to compute."""

    folder: tyro.conf.Positional[Path]
    """The run folder."""
    data: str | None = None
    """Another data set than the run's own."""
    data_root: str | None = None
    """Where its files are, if not where they were in training."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Measure a run on held-out observations, and write metrics.json and report.html anew.

    The numbers on another data set go to metrics-NAME.json.
    """

    def run(self) -> int:
        """Evaluate; returns the exit status."""
        from pyro_mlvae.cli.evaluating import evaluate_run

        return evaluate_run(self)


@dataclass(frozen=True, kw_only=True)
class Operation(OfRun):
    """What draws a figure of held-out observations, named or drawn by the seed."""

    out: Path
    """The figure to write: .png, .pdf or .svg."""
    content: tuple[int, ...] = ()
    """The observations that give content, by position in the data, from 0; else drawn."""
    style: tuple[int, ...] = ()
    """The observations that give style, by position in the data, from 0; else drawn."""
    seed: int = 0
    """Of everything that is drawn."""

    def run(self) -> int:
        """Draw and write the figure; returns the exit status."""
        from pyro_mlvae.cli.drawing import draw

        return draw(self)


@dataclass(frozen=True, kw_only=True)
class Swap(Operation):
    """Draw the contents of some observations in the styles of others."""

    evidence: int = 1
    """Infer content from so many observations of its group together, of which one is shown."""


@dataclass(frozen=True, kw_only=True)
class Interpolate(Operation):
    """Draw what lies between two contents, and between two styles.

    Name two observations with --content, two with --style, or both; the same two give both where
    only one is named.
    """

    steps: int = 8
    """Points on each line, of which the ends are two."""
    vary: Literal["grid", "content", "style", "both"] = "grid"
    """What changes: grid, every content with every style; content or style, the other held at its
    first end; both at once."""


@dataclass(frozen=True, kw_only=True)
class Generate(Operation):
    """Draw new observations: contents and styles from the prior, or one of them of observations.

    With --content, those contents in styles from the prior; with --style, contents from the prior
    in those styles.
    """

    rows: int | None = None
    """How many contents to draw from the prior; 8 by default."""
    columns: int | None = None
    """How many styles to draw from the prior; 8 by default."""


@dataclass(frozen=True, kw_only=True)
class Traverse(Operation):
    """Draw what each dimension of content, or of style, does: one at a time, all else held.

    Name one observation with --content, one with --style, or both; the same one gives both where
    only one is named.
    """

    which: Literal["content", "style"] = "content"
    """Whose dimensions change."""
