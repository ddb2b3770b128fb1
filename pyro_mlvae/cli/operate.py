"""``pyro-mlvae swap``, ``interpolate``, ``generate`` and ``traverse``: figures of a trained run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae import plotting, runs
from pyro_mlvae.cli.choose import Choice
from pyro_mlvae.cli.source import load_for
from pyro_mlvae.data.catalogue import is_ink
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.latents import decoding as operations
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.ops import mean_of
from pyro_mlvae.plotting.looks import look_of_shown
from pyro_mlvae.runs.custom import is_custom
from pyro_mlvae.runs.folder import Run

DRAWN, GENERATED = 10, 8
# More pictures than this on a side are no longer seen.
MOST = 50


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What the operations share: a run, observations of some data, and a figure."""

    folder: tyro.conf.Positional[Path]
    """The run folder."""
    out: Path
    """The figure to write: .png, .pdf or .svg."""
    data: str | None = None
    """Another data set than the run's own, of which only held-out observations are drawn."""
    data_root: str | None = None
    """Where its files are, if not where they were in training."""
    content: tuple[int, ...] = ()
    """The observations that give content, by position in the data, from 0; else drawn."""
    style: tuple[int, ...] = ()
    """The observations that give style, by position in the data, from 0; else drawn."""
    seed: int = 0
    """Of everything that is drawn."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    def draw(self, run: Run) -> tuple[Figure, str]:
        """The figure, and what is seen on it."""
        raise NotImplementedError(f"{type(self).__name__} must define draw(run)")

    def run(self) -> int:
        """Draw and write the figure; returns the exit status."""
        plotting.require_figure_path(self.out)
        require_seed(self.seed)
        for flag, index in (("--content", self.content), ("--style", self.style)):
            _require_count(f"{flag} names", len(index), least=0)
        device = find_device(self.device)
        run = runs.load_run(self.folder)
        run.model.to(device)
        run.guide.to(device)
        figure, seen = self.draw(run)
        plotting.save_figure(figure, self.out)
        print(f"{self.out}\n{seen}")
        return 0

    def choice(self, run: Run) -> Choice:
        """What chooses among the observations of the data."""
        return Choice.of(run, load_for(run, self.data, self.data_root), self.seed)


@dataclass(frozen=True, kw_only=True)
class Swap(Operation):
    """Draw the contents of some observations in the styles of others."""

    evidence: int = 1
    """Content is inferred from so many observations of its group together, of which one is shown."""

    def draw(self, run: Run) -> tuple[Figure, str]:
        """Every content with every style, and the originals at the margins."""
        require_positive(evidence=self.evidence)
        choice = self.choice(run)
        if self.content:
            contents = choice.named("--content", self.content)
        else:
            contents = choice.contents(DRAWN, self.evidence)
        together = choice.evidence(contents, self.evidence)
        if self.style:
            styles = choice.named("--style", self.style)
        else:
            styles = choice.styles(DRAWN, apart_from=contents)
        data = choice.source.data
        codes = encode(run.guide, data.subset(together.flatten()))
        row = torch.arange(len(contents)).repeat_interleave(self.evidence)
        content = mean_of(group_content(run.guide, codes, torch.arange(len(row)), row))
        grid = operations.swap(run.model, content, mean_of(_codes(run, choice, styles).style))
        source = "one observation" if self.evidence == 1 else f"{self.evidence} observations of its group"
        figure = plotting.swap_grid(
            data.observations(contents),
            data.observations(styles),
            grid,
            title=f"Content of the row, from {source}",
            look=plotting.look_of(data),
        )
        return figure, (
            f"content of {_list(contents)}, each from {source}, with style of {_list(styles)}, "
            f"of {choice.source.name}"
        )


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

    def draw(self, run: Run) -> tuple[Figure, str]:
        """The lines, and the observations at their ends."""
        _require_count("--steps", self.steps, least=2)
        choice = self.choice(run)
        contents, styles = choice.same(self.content, self.style, 2, "2 positions, the ends of a line")
        decoded = operations.interpolate(
            run.model,
            mean_of(_codes(run, choice, contents).content),
            mean_of(_codes(run, choice, styles).style),
            self.steps,
            vary=self.vary,
        )
        data, look = choice.source.data, plotting.look_of(choice.source.data)
        ends = data.observations(contents), data.observations(styles)
        figure = plotting.interpolation_figure(*ends, decoded, vary=self.vary, look=look)
        return figure, (
            f"content between {_list(contents)}, style between {_list(styles)}, of {choice.source.name}, "
            f"varying {self.vary}"
        )


@dataclass(frozen=True, kw_only=True)
class Generate(Operation):
    """Draw new observations: contents and styles from the prior, or one of them of observations.

    With --content, those contents in styles from the prior; with --style, contents from the prior in
    those styles.
    """

    rows: int | None = None
    """How many contents to draw from the prior; 8 by default."""
    columns: int | None = None
    """How many styles to draw from the prior; 8 by default."""

    def draw(self, run: Run) -> tuple[Figure, str]:
        """Every content with every style."""
        if self.content and self.style:
            raise InputError("--content and --style together leave nothing to generate: use swap")
        for flag, count, by, index in (
            ("--rows", self.rows, "--content", self.content),
            ("--columns", self.columns, "--style", self.style),
        ):
            if count is not None and index:
                raise InputError(
                    f"{flag} says how many to draw, but {by} names them: leave out one of them"
                )
            if count is not None:
                _require_count(flag, count, least=1)
        latents, originals, look = {}, {}, None
        seen = {"content": "contents from the prior", "style": "styles from the prior"}
        for name, index in (("content", self.content), ("style", self.style)):
            if index:
                choice = self.choice(run)
                named = choice.named(f"--{name}", index)
                latents[name] = mean_of(getattr(_codes(run, choice, named), name))
                originals[f"{name}_x"] = choice.source.data.observations(named)
                look = plotting.look_of(choice.source.data)
                seen[name] = f"{name} of {_list(named)} of {choice.source.name}"
        rows, columns = self.rows or GENERATED, self.columns or GENERATED
        groups = None
        if is_custom(run.config.model):
            # Its priors may depend on what is known of groups: those of observations drawn by the seed.
            data, generator = self.choice(run).source.data, torch.Generator().manual_seed(self.seed)
            order = torch.randint(len(data), (max(rows, columns),), generator=generator)
            groups = data.groups(order).singletons()
        generated = operations.generate(
            run.model, contents=rows, styles=columns, groups=groups, seed=self.seed, **latents
        )
        # What is drawn from the prior needs no data, only to know whether it is ink.
        look = look or look_of_shown([], generated, ink=is_ink(self.data or run.config.data))
        figure = plotting.generation_figure(generated, **originals, look=look)
        return figure, " with ".join(seen.values())


@dataclass(frozen=True, kw_only=True)
class Traverse(Operation):
    """Draw what each dimension of content, or of style, does: one at a time, all else held.

    Name one observation with --content, one with --style, or both; the same one gives both where only
    one is named.
    """

    which: Literal["content", "style"] = "content"
    """Whose dimensions change."""

    def draw(self, run: Run) -> tuple[Figure, str]:
        """One row a dimension, the one that changes the observation most first."""
        choice = self.choice(run)
        contents, styles = choice.same(self.content, self.style, 1, "1 position, from which to start")
        content = mean_of(_codes(run, choice, contents).content)[0]
        style = mean_of(_codes(run, choice, styles).style)[0]
        traversed = operations.traverse(run.model, content, style, self.which)
        data = choice.source.data
        figure = plotting.traversal_figure(
            data.observations(contents)[0],
            data.observations(styles)[0],
            traversed,
            operations.TRAVERSED,
            which=self.which,
            own=content if self.which == "content" else style,
            look=plotting.look_of(data),
        )
        return figure, (
            f"dimensions of {self.which}, starting from content of {_list(contents)} and style of "
            f"{_list(styles)}, of {choice.source.name}"
        )


def _codes(run: Run, choice: Choice, index: Tensor) -> Codes:
    return encode(run.guide, choice.source.data.subset(index))


def _require_count(what: str, count: int, *, least: int) -> None:
    if not least <= count <= MOST:
        raise InputError(f"{what} {count}, expected from {least} to {MOST}")


def _list(index: Tensor) -> str:
    return " ".join(map(str, index.tolist()))
