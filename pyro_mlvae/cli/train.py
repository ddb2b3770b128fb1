"""``pyro-mlvae train``: its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import tyro

from pyro_mlvae.runs.options import (
    FetchedDataOptions,
    ModelOptions,
    ObjectiveOptions,
    OutputOptions,
    TrainingOptions,
)
from pyro_mlvae.runs.presets import PRESETS


@dataclass(frozen=True, kw_only=True)
class TrainingHereOptions(TrainingOptions):
    """Minibatches and steps, and how they are computed here, which is not part of the run."""

    device: str = "auto"
    """Where to train: auto, cpu, cuda or cuda:N; of several processes that torchrun starts, each
    takes the GPU of its number."""
    compile: bool = False
    """Compile the networks before training, which pays in long runs on a GPU."""
    observations_at_once: int | None = None
    """Compute a minibatch in parts of whole groups, of at most so many observations each, whose
    gradients add: for minibatches larger than memory. A group is never split."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model; then evaluate it, and draw what it learned."""

    preset: Literal["none", "paper", "unseen-images"] | None = None
    """Start from these settings instead of the defaults; options beside it override them. paper:
    the paper's, one hidden layer of 500, a Normal with learned variances, 10 + 10 dims, and the
    ELBO alone. unseen-images: to tell groups apart that training never saw, by posed networks and
    evidence of every size; taken where whole groups of images are held out and neither model, guide
    nor network is named. none: the defaults in any case."""
    data: FetchedDataOptions = field(default_factory=FetchedDataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    objective: ObjectiveOptions = field(default_factory=ObjectiveOptions)
    training: TrainingHereOptions = field(default_factory=TrainingHereOptions)
    output: OutputOptions = field(default_factory=OutputOptions)
    unless_images: Annotated[Train | None, tyro.conf.Suppress] = None
    """The command as it is without a preset that only images can have and that nobody named."""

    def run(self) -> int:
        """Train; returns the exit status."""
        from pyro_mlvae.cli.training import train

        return train(self)

    def defaults(self) -> Train | None:
        """This command with the settings of its preset, or of the run that it resumes.

        They hold where no option is given; None where those are the defaults.

        Raises:
            InputError: there is no such run.
        """
        if self.output.resume is not None and self.output.out is None:
            from pyro_mlvae.runs.config_file import load_config

            return self._with(vars(load_config(self.output.resume)[0]))
        if self.preset is not None:
            return None if self.preset == "none" else self._with(PRESETS[self.preset])
        whole_groups = self.data.hold_out_groups or self.data.hold_out_fraction
        pair = (self.model.model, self.model.guide, self.model.network)
        if pair != ("mlvae", "auto", "auto") or not whole_groups:
            return None
        return replace(self._with(PRESETS["unseen-images"]), unless_images=self)

    def _with(self, settings: Mapping[str, Any]) -> Train:
        def changed(group: Any) -> Any:
            names = vars(group).keys() & settings.keys()
            return replace(group, **{name: settings[name] for name in names})

        groups = ("data", "model", "objective", "training")
        return replace(self, **{name: changed(getattr(self, name)) for name in groups})
