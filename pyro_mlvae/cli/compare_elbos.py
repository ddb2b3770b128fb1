"""``pyro-mlvae compare-elbos``: ELBO estimators side by side."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from pyro_mlvae import runs
from pyro_mlvae.checking import check
from pyro_mlvae.cli.comparison_advice import advice
from pyro_mlvae.cli.comparison_table import comparison_table, flat_rows
from pyro_mlvae.comparison import (
    DEFAULT_ESTIMATORS,
    Problem,
    check_cases,
    check_settings,
    compare_elbos,
    make_problem,
    mixture_problem,
    solved_problem,
)
from pyro_mlvae.data import GroupSampler
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError
from pyro_mlvae.files import write_atomically
from pyro_mlvae.plotting import draw_comparison
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler

ELBOS_JSON, ELBOS_CSV = "elbos.json", "elbos.csv"
# What brings a model of its own, whose evidence is known.
SOLVED = {"linear-gaussian": solved_problem, "mixture": mixture_problem}
# What is measured by default, and what with --thorough.
USUAL: dict[str, Any] = {"draws": 100, "reference_draws": 200, "seconds": 0.6, "nested_draws": (50, 20)}
THOROUGH: dict[str, Any] = {
    "draws": 400,
    "reference_draws": 800,
    "seconds": 10.0,
    "nested_draws": (200, 100),
}


@dataclass(frozen=True, kw_only=True)
class CompareElbos:
    """Compare ELBO estimators on grouped data: how tight, how noisy, how biased, how slow each is."""

    out: Path
    """The folder to write: elbos.json, elbos.csv, figures."""
    data: str = "digits"
    """What to compare on, as for train; linear-gaussian and mixture bring models whose evidence is
    known, and mixture one whose posterior no guide of Normals can be."""
    data_root: str = "data"
    """Where the files of named data sets are."""
    download: bool = False
    """Fetch a named data set whose files are not there."""
    estimators: tuple[str, ...] = DEFAULT_ESTIMATORS
    """Which estimators. graph is known too, but equals trace where, as here, every draw is
    reparameterised."""
    particles: tuple[int, ...] = (1, 10)
    """Numbers of particles: each estimator is measured with each of them."""
    alpha: float | None = None
    """The order of renyi and group-renyi; by default 0 and 0.5."""
    groups: int = 10
    """Groups in the one batch on which all are measured, and in a minibatch of training."""
    observations_per_group: int = 16
    """At most so many observations stand for a group."""
    epochs: int = 100
    """How many epochs to train, with trace, before all is measured a second time."""
    thorough: bool = False
    """Take minutes instead of seconds: four times the draws, twelve times the training, a tighter
    reference."""
    seconds: float | None = None
    """How long each estimator trains for its curve, with each of three seeds; 0 for no curves; by
    default 0.6, and 10 with --thorough."""
    draws: int | None = None
    """Draws of each estimator and its gradient; by default 100, and 400 with --thorough."""
    reference_draws: int | None = None
    """Draws of another estimator of the same objective, against which the gradient's bias is measured;
    by default 200, and 800 with --thorough."""
    model: str = "mlvae"
    """The generative model, as for train: a name, or path/to/file.py:Class, whose code is run."""
    guide: str = "auto"
    """The guide, as for train: a name, auto, or path/to/file.py:Class, whose code is run."""
    style_given_content: bool = False
    """Let the style of an observation depend on its group's content: q(S | x, C)."""
    likelihood: str = "normal"
    """Of x: normal, normal-learned (the paper's), bernoulli, or continuous-bernoulli."""
    content_dim: int = 16
    """Size of content."""
    style_dim: int = 4
    """Size of style."""
    network: str = "auto"
    """Encoder and decoder: mlp (the paper's), conv, or auto: conv for images of 16x16 and more."""
    hidden: tuple[int, ...] = ()
    """Widths of the encoder's hidden layers, the decoder's in reverse; 500 for mlp, 256 for conv."""
    image_size: int | None = None
    """Side to which the images of folder:PATH are resized and cropped."""
    learning_rate: float | None = None
    """Adam's; by default 0.001, 0.01 for linear-gaussian and 0.003 for mixture. For its curve every
    estimator takes the best of 0.3, 1, 3 and 10 times this."""
    memory: bool = True
    """Measure the growth of memory in a step, in child processes."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""
    seed: int = 0
    """Of the split, the initial weights, the minibatches and the draws."""
    overwrite: bool = False
    """Replace the comparison that --out holds."""

    def run(self) -> int:
        """Compare; returns the exit status."""
        # Before an old comparison is replaced.
        check_cases(self.estimators, self.particles, self.alpha)
        settings = dict(THOROUGH if self.thorough else USUAL)
        for name in settings:
            if getattr(self, name, None) is not None:
                settings[name] = getattr(self, name)
        checked = {name: settings[name] for name in ("draws", "reference_draws", "seconds")}
        check_settings(self.epochs, **checked, seed=self.seed)
        problem = self._problem()
        folder = runs.prepare_folder(
            self.out, ELBOS_JSON, (ELBOS_JSON, ELBOS_CSV), what="comparison", overwrite=self.overwrite
        )
        with tqdm(
            unit="part",
            desc="comparing",
            bar_format="{l_bar}{bar}| {elapsed}{postfix}",
            disable=sys.stderr is None,
        ) as bar:

            def show(what: str, done: int, total: int) -> None:
                bar.total = total
                bar.set_postfix_str(what, refresh=False)
                bar.update(done - bar.n)

            comparison = compare_elbos(
                problem,
                self.estimators,
                self.particles,
                alpha=self.alpha,
                epochs=self.epochs,
                **settings,
                memory=self.memory,
                seed=self.seed,
                callback=show,
            )
        write_csv(folder / ELBOS_CSV, comparison)
        for name, why in draw_comparison(folder / runs.FIGURES, comparison).items():
            print(f"the figure {name} could not be drawn ({why})", file=sys.stderr)
        # Last, for it is by this file that a comparison is known to be whole.
        runs.write_json(folder / ELBOS_JSON, comparison)
        print(comparison_table(comparison))
        print(f"\n{advice(comparison)}")
        print(f"\n{comparison['seconds']:.0f} s in all; look at {folder / runs.FIGURES}")
        return 0

    def _problem(self) -> Problem:
        device = find_device(self.device)
        sizes: Any = {"groups": self.groups, "observations_per_group": self.observations_per_group}
        if self.data in SOLVED:
            for name, own in (("model", "mlvae"), ("guide", "auto"), ("style_given_content", False)):
                if getattr(self, name) != own:
                    came = f"{name} {getattr(self, name)!r}"
                    raise InputError(
                        f"--data {self.data} brings its own model and guide, got {came}: leave that out, "
                        f"or name other data"
                    )
            # Small and in float64: nothing for a GPU.
            rate: Any = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
            return SOLVED[self.data](**sizes, **rate, seed=self.seed)
        config = RunConfig(
            data=self.data,
            data_root=self.data_root,
            image_size=self.image_size,
            model=self.model,
            guide=self.guide,
            style_given_content=self.style_given_content,
            likelihood=self.likelihood,
            content_dim=self.content_dim,
            style_dim=self.style_dim,
            network=self.network,
            hidden=self.hidden,
            groups_per_batch=self.groups,
            observations_per_group=self.observations_per_group,
            epochs=self.epochs,
            learning_rate=1e-3 if self.learning_rate is None else self.learning_rate,
            seed=self.seed,
        )
        data = config.load(download=self.download)
        config, train, held_out = config.split(data)
        model, guide = config.build(data.event_shape)
        if isinstance(data.x, Tensor) and data.x.is_floating_point():
            model.likelihood.check(data.x)
        check(model, guide, next(GroupSampler(train, 3, 3, seed=self.seed).epoch(0)))
        return make_problem(
            self.data,
            model.to(device),
            guide.to(device),
            train.to(device),
            held_out,
            **sizes,
            sampler=make_sampler(config, train.to(device)),
            learning_rate=config.learning_rate,
            seed=self.seed,
        )


def write_csv(path: Path, comparison: Mapping[str, Any]) -> None:
    """Write the rows, one a line, with a column for each part of the parameters; None is left empty."""
    rows = flat_rows(comparison)
    with write_atomically(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
