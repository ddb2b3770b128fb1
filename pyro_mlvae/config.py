"""What a run is made from: a value that is written to config.json, and builds the pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pyro_mlvae.data import GroupedDataset, GroupSampler, ObservationSampler, Sampler
from pyro_mlvae.errors import InputError, require_positive, require_seed, unknown_name
from pyro_mlvae.estimators import ESTIMATORS
from pyro_mlvae.guides import GroupedGuide, ProductOfNormals
from pyro_mlvae.likelihoods import make_likelihood
from pyro_mlvae.models import MLVAE
from pyro_mlvae.networks import MLPDecoder, MLPEncoder

MODELS: dict[str, Callable[..., MLVAE]] = {"mlvae": MLVAE}
GUIDES: dict[str, Callable[..., GroupedGuide]] = {"product-of-normals": ProductOfNormals}
SAMPLERS = ("auto", "groups", "observations")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides how a run turns out, but the data itself.

    Raises:
        InputError: a value is out of range or a name unknown; nothing else is checked as early.

    >>> RunConfig(epochs=0)
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: epochs must be a positive whole number, got 0
    """

    data: str = "digits"
    """What to train on: digits (real 8x8 digits) or linear-gaussian (the solved model)."""
    model: str = "mlvae"
    """The generative model: mlvae."""
    guide: str = "product-of-normals"
    """The guide: product-of-normals."""
    likelihood: str = "normal"
    """Of x: normal, normal-learned (the paper's), bernoulli, or continuous-bernoulli."""
    content_dim: int = 16
    """Size of content, what a group shares."""
    style_dim: int = 4
    """Size of style, what an observation adds; a larger one lets more of the content leak in."""
    hidden: tuple[int, ...] = (500,)
    """Widths of the encoder's hidden layers; the decoder's are the same in reverse."""
    sampler: str = "auto"
    """How minibatches are formed. groups: --groups-per-batch groups with --observations-per-group of
    each, and an epoch visits every group once. observations: as many observations in all, at random,
    grouped inside the minibatch, and an epoch visits every observation once. auto: observations where
    groups are large (on average more than 4 x --observations-per-group), else groups."""
    groups_per_batch: int = 10
    """Groups in a minibatch."""
    observations_per_group: int = 16
    """At most so many observations stand for a group in a minibatch."""
    epochs: int = 200
    """How many epochs to train."""
    learning_rate: float = 1e-3
    """Adam's."""
    elbo: str = "trace"
    """The ELBO estimator: trace, or mean-field (divergences in closed form)."""
    num_particles: int = 1
    """Draws from the guide in every step."""
    test_fraction: float = 0.2
    """How much of every group is held out."""
    seed: int = 0
    """Of the split, the initial weights, the minibatches and the draws."""

    def __post_init__(self) -> None:
        require_positive(
            content_dim=self.content_dim,
            style_dim=self.style_dim,
            groups_per_batch=self.groups_per_batch,
            observations_per_group=self.observations_per_group,
            epochs=self.epochs,
            num_particles=self.num_particles,
        )
        for what, name, known in (
            ("model", self.model, MODELS),
            ("guide", self.guide, GUIDES),
            ("ELBO estimator", self.elbo, ESTIMATORS),
            ("sampler", self.sampler, SAMPLERS),
        ):
            if name not in known:
                raise unknown_name(what, name, known)
        make_likelihood(self.likelihood)
        if not self.learning_rate > 0.0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")
        require_seed(self.seed)

    def build(self, event_shape: Sequence[int]) -> tuple[MLVAE, GroupedGuide]:
        """The model and the guide with their initial weights, which follow from the seed alone."""
        likelihood = make_likelihood(self.likelihood)
        dims = (self.content_dim, self.style_dim)
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            decoder = MLPDecoder(event_shape, *dims, likelihood.outputs, self.hidden)
            encoder = MLPEncoder(event_shape, *dims, self.hidden)
        return MODELS[self.model](decoder, likelihood, *dims), GUIDES[self.guide](encoder)

    def make_sampler(self, data: GroupedDataset) -> Sampler:
        """The sampler of training minibatches."""
        mean_size = len(data) / int((data.sizes > 0).sum())
        large = mean_size > 4 * self.observations_per_group
        if self.sampler == "observations" or (self.sampler == "auto" and large):
            return ObservationSampler(
                data, self.groups_per_batch * self.observations_per_group, seed=self.seed
            )
        return GroupSampler(data, self.groups_per_batch, self.observations_per_group, seed=self.seed)
