"""``pyro-mlvae compare-elbos``: its options."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pyro_mlvae.runs.options import FetchedDataOptions, ModelOptions, TrainingOptions


@dataclass(frozen=True, kw_only=True)
class CompareElbos:
    """Compare ELBO estimators on grouped data: how tight, how noisy, how biased, how slow each is.

    Beside what train takes, --data takes linear-gaussian and mixture, which bring models whose
    evidence is known, and mixture one whose posterior no guide of Normals can be.
    """

    out: Path
    """The folder to write: elbos.json, elbos.csv, figures."""
    data: FetchedDataOptions = field(default_factory=FetchedDataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    estimators: tuple[str, ...] = ()
    """Which estimators; by default all but graph, which equals trace where, as here, every draw is
    reparameterised."""
    particles: tuple[int, ...] = (1, 10)
    """Numbers of particles: each estimator is measured with each of them."""
    alpha: float | None = None
    """The order of renyi and group-renyi; by default 0 and 0.5."""
    groups: int = TrainingOptions.groups_per_batch
    """Groups in the one batch on which all are measured, and in a minibatch of training."""
    observations_per_group: int = TrainingOptions.observations_per_group
    """At most so many observations stand for a group."""
    epochs: int = 100
    """How many epochs to train, with trace, before all is measured a second time."""
    thorough: bool = False
    """Take minutes instead of seconds: five times the draws, twenty times the training, a tighter
    reference."""
    seconds: float | None = None
    """How long each estimator trains for its curve, with each of three seeds; 0 for no curves; by
    default 0.45, and 10 with --thorough."""
    draws: int | None = None
    """Draws of each estimator and its gradient; by default 80, and 400 with --thorough."""
    reference_draws: int | None = None
    """Draws of another estimator of the same objective, against which the gradient's bias is
    measured; by default 160, and 800 with --thorough."""
    learning_rate: float | None = None
    """Adam's; by default 0.001, 0.01 for linear-gaussian and 0.003 for mixture. For its curve every
    estimator takes the best of 0.3, 1, 3 and 10 times this."""
    memory: bool = True
    """Measure the growth of memory in a step, in child processes."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""
    seed: int = TrainingOptions.seed
    """Of the split, the initial weights, the minibatches and the draws."""
    overwrite: bool = False
    """Replace the comparison that --out holds."""

    def run(self) -> int:
        """Compare; returns the exit status."""
        from pyro_mlvae.cli.comparing import compare

        return compare(self)
