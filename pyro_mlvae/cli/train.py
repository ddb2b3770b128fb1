"""``pyro-mlvae train``: its options."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyro_mlvae.runs.options import (
    FetchedDataOptions,
    ModelOptions,
    ObjectiveOptions,
    OutputOptions,
    TrainingOptions,
)


@dataclass(frozen=True, kw_only=True)
class TrainingHereOptions(TrainingOptions):
    """Minibatches and steps, and how they are computed here, which is not part of the run."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda or cuda:N; of several processes that torchrun starts, each takes the
    GPU of its number."""
    compile: bool = False
    """Compile the networks before training, which pays in long runs on a GPU."""
    observations_at_once: int | None = None
    """Compute a minibatch in parts of whole groups, of at most so many observations each, whose gradients
    add: for minibatches larger than memory. A group is never split."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model; then evaluate it, and draw what it learned."""

    data: FetchedDataOptions = field(default_factory=FetchedDataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    training: TrainingHereOptions = field(default_factory=TrainingHereOptions)
    output: OutputOptions = field(default_factory=OutputOptions)

    def run(self) -> int:
        """Train; returns the exit status."""
        from pyro_mlvae.cli.training import train

        return train(self)

    def defaults(self) -> Train | None:
        """This command with the options of the run that it resumes, which hold where none are given."""
        if self.output.resume is None or self.output.out is not None:
            return None
        from pyro_mlvae.cli.training import as_resumed

        return as_resumed(self)
