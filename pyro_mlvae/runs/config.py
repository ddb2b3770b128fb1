"""What a run is made from: a value that is written to config.json, and builds the pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pyro.infer import ELBO

from pyro_mlvae.data import GroupedDataset, TableColumns, load_dataset
from pyro_mlvae.data.augment import check_augmentations
from pyro_mlvae.data.labels import present_names
from pyro_mlvae.data.observations import MISSING
from pyro_mlvae.data.ranges import require_bright
from pyro_mlvae.data.scaling import Scaling, mean_of_values, scaling_of
from pyro_mlvae.data.splits import Split
from pyro_mlvae.data.validation_part import with_validation
from pyro_mlvae.errors import (
    InputError,
    require_positive,
    require_seed,
    require_types,
    unknown_name,
)
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.guides.random_part import EVIDENCE
from pyro_mlvae.likelihoods import (
    CountsLikelihood,
    Likelihood,
    check_likelihood,
    choose_likelihood,
    make_likelihood,
)
from pyro_mlvae.models import MLVAE
from pyro_mlvae.penalties import Penalty
from pyro_mlvae.runs.options import DataOptions, ModelOptions, ObjectiveOptions, TrainingOptions
from pyro_mlvae.runs.pairs import (
    AUTO,
    NETWORKS,
    check_names,
    choose_guide,
    choose_network,
    make_pair,
)
from pyro_mlvae.runs.penalties import PENALTY_OPTIONS, make_penalties
from pyro_mlvae.training.acceleration import PRECISIONS

SAMPLERS = ("auto", "groups", "observations")
MOST_LAYERS = 100
# scikit-learn, which probes, takes seeds of 32 bits.
MOST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class RunConfig(TrainingOptions, ObjectiveOptions, ModelOptions, DataOptions):
    """Everything that decides how a run turns out, but the data itself: all options, flat.

    Raises:
        InputError: a value is out of range or a name unknown; nothing else is checked as early.

    >>> RunConfig(epochs=0)
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: epochs must be a positive whole number, got 0
    """

    def __post_init__(self) -> None:
        require_types(self, RunConfig)
        require_positive(
            content_dim=self.content_dim,
            style_dim=self.style_dim,
            groups_per_batch=self.groups_per_batch,
            observations_per_group=self.observations_per_group,
            num_particles=self.num_particles,
        )
        for what, name, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("network", self.network, ["auto", *NETWORKS]),
            ("precision", self.precision, PRECISIONS),
            ("evidence", self.evidence, EVIDENCE),
            ("missing", self.missing, MISSING),
        ):
            if name not in known:
                raise unknown_name(what, name, known)
        check_names(self.model, self.guide)
        self.penalties()
        self.estimator()
        check_likelihood(self.likelihood, self.likelihood_scale, self.library_size)
        if self.library_size and self.missing == "mask":
            raise InputError(
                "library_size takes the total of each observation, which missing='mask' leaves "
                "unknown: give one of them"
            )
        self._check_budget()
        if not 0.0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        if len(self.hidden) > MOST_LAYERS:
            raise InputError(
                f"hidden must name at most {MOST_LAYERS} layers, got {len(self.hidden)}"
            )
        require_positive(
            **{f"the width of hidden layer {i}": n for i, n in enumerate(self.hidden, start=1)}
        )
        require_seed(self.seed, MOST_SEED)

    def _check_budget(self) -> None:
        for one, other in (("steps", "epochs"), ("hold_out_groups", "hold_out_fraction")):
            came, beside = getattr(self, one), getattr(self, other)
            if came not in (None, ()) and beside not in (None, 0.0):
                both = f"{one} and {other} exclude each other, got {came} and {beside}"
                raise InputError(f"{both}: give one of them")
        budgets = {"epochs": self.epochs, "steps": self.steps}
        require_positive(**{name: value for name, value in budgets.items() if value is not None})
        if self.patience < 0:
            raise InputError(f"patience must be at least 0, which is none, got {self.patience}")
        if not 0.0 <= self.validation_fraction < 1.0:
            known = "validation_fraction must be at least 0 and less than 1"
            raise InputError(f"{known}, got {self.validation_fraction}")
        check_augmentations(self.augment)

    @classmethod
    def of(cls, *groups: Any, **settings: Any) -> RunConfig:
        """The config of options in groups, as a command has them, and of further settings.

        What a group has beside the fields of a config is left out.

        >>> RunConfig.of(ModelOptions(style_dim=2), TrainingOptions(epochs=5), seed=3).epochs
        5
        """
        names = {field.name for field in fields(cls)}
        grouped = {
            name: value for group in groups for name, value in vars(group).items() if name in names
        }
        return cls(**grouped | settings)

    def estimator(self) -> ELBO:
        """The estimator of training."""
        return make_estimator(self.elbo, self.num_particles, alpha=self.alpha, inner=self.inner)

    def load(self, *, download: bool = False) -> GroupedDataset:
        """The data."""
        return load_dataset(
            self.data,
            self.data_root,
            download=download,
            image_size=self.image_size,
            grayscale=self.grayscale,
            skip_bad=self.skip_bad,
            columns=TableColumns(
                self.group_column, self.label_column, features=self.feature_columns
            ),
            missing=self.missing,
        )

    def split(self, data: GroupedDataset) -> tuple[RunConfig, Split]:
        """What each observation is for, and this config with the held-out groups by name."""
        config, held_out = self, self.hold_out_groups or self.hold_out_fraction
        if held_out:
            split = Split.by_groups(data, held_out, self.seed)
            names = present_names(data.group[split.test], data.group_names)
            names = self.hold_out_groups or names
            config = replace(self, hold_out_groups=names, hold_out_fraction=0.0)
        else:
            split = Split.by_observations(data, self.test_fraction, self.seed)
        return config, self.with_validation(split, data, unseen_groups=bool(held_out))

    def with_validation(
        self, split: Split, data: GroupedDataset, *, unseen_groups: bool = False
    ) -> Split:
        """A split, a part of whose training part is for validation, as far as there is enough."""
        if not self.validation_fraction:
            return split
        fraction = self.validation_fraction
        return with_validation(split, data, fraction, unseen_groups=unseen_groups, seed=self.seed)

    def build(
        self,
        event_shape: Sequence[int],
        scaling: Scaling | None = None,
        *,
        most_parameters: int | None = None,
    ) -> tuple[MLVAE, GroupedGuide]:
        """The model and the guide with their initial weights, which follow from the seed alone.

        Args:
            event_shape: the shape of one observation.
            scaling: of x for the networks, as :meth:`scaling` finds it; none by default.
            most_parameters: how many the networks may have; by default as many as memory has room
                for when they are trained.

        Raises:
            InputError: they would have more; nothing is allocated before.
        """
        return make_pair(
            self,
            self._likelihood(event_shape),
            event_shape,
            scaling,
            evidence=self.evidence,
            seed=self.seed,
            most_parameters=most_parameters,
        )

    def resolved(self, data: GroupedDataset) -> RunConfig:
        """This config with the names that "auto" stands for, and the columns of x."""
        return replace(
            self,
            guide=choose_guide(self.guide, self.model),
            likelihood=choose_likelihood(self.likelihood, data.event_shape, self.likelihood_scale),
            network=choose_network(self.network, data.event_shape),
            feature_columns=data.feature_names or self.feature_columns,
        )

    def scaling(self, train: GroupedDataset) -> Scaling:
        """How x is scaled for the networks, found in the training part.

        Raises:
            InputError: the likelihood takes x as it is, and would take uint8 pixels for black.
        """
        likelihood = self._likelihood(train.event_shape)
        if likelihood.unit_interval:
            require_bright(self.likelihood, train)
        found = scaling_of(train, missing=self.missing == "mask", rescale=likelihood.rescales)
        if isinstance(likelihood, CountsLikelihood):
            return replace(found, rate=mean_of_values(train))
        return found

    def _likelihood(self, event_shape: Sequence[int]) -> Likelihood:
        return make_likelihood(
            self.likelihood,
            event_shape,
            scale=self.likelihood_scale,
            library_size=self.library_size,
        )

    def plain_vae(self) -> RunConfig:
        """The same networks, size and budget for a plain VAE, with nothing added to its ELBO."""
        added = {name: getattr(RunConfig, name) for name in PENALTY_OPTIONS}
        plain: dict[str, Any] = {"style_given_content": False, "evidence": "whole"}
        return replace(self, model="vae", guide=AUTO, vae=False, **plain, **added)

    def penalties(self) -> list[Penalty]:
        """What is taken off the objective in training: nothing, unless it is asked for."""
        return make_penalties(self)
