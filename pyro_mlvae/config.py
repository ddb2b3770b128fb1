"""What a run is made from: a value that is written to config.json, and builds the pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from pyro_mlvae.data import (
    GroupedDataset,
    GroupSampler,
    ObservationSampler,
    Sampler,
    ahead_if_spare,
    load_dataset,
)
from pyro_mlvae.errors import InputError, require_positive, require_seed, unknown_name
from pyro_mlvae.estimators import ESTIMATORS, make_estimator
from pyro_mlvae.guides import GroupedGuide, ProductOfNormals, VAEGuide
from pyro_mlvae.likelihoods import make_likelihood
from pyro_mlvae.models import MLVAE, VAE
from pyro_mlvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder

# Every model with the guide that goes with it.
MODELS: dict[str, tuple[Callable[..., MLVAE], str]] = {
    "mlvae": (MLVAE, "product-of-normals"),
    "vae": (VAE, "vae"),
}
GUIDES: dict[str, Callable[..., GroupedGuide]] = {
    "product-of-normals": ProductOfNormals,
    "vae": VAEGuide,
}
SAMPLERS = ("auto", "groups", "observations")
# Encoder, decoder, and the widths of their hidden layers unless others are named.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module], tuple[int, ...]]] = {
    "mlp": (MLPEncoder, MLPDecoder, (500,)),
    "conv": (ConvEncoder, ConvDecoder, (256,)),
}
SMALLEST_CONVOLVED = 16


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
    """What to train on: digits, linear-gaussian, mnist, fashion-mnist, omniglot, celeba, lfw, or your own:
    folder:PATH, npz:PATH, npy:DIR. `pyro-mlvae datasets` tells more of each."""
    data_root: str = "data"
    """Where the files of named data sets are."""
    image_size: int | None = None
    """Side to which the images of folder:PATH are resized and cropped."""
    grayscale: bool = False
    """Turn the images of folder:PATH grey."""
    skip_bad: bool = False
    """Leave out the images of folder:PATH that cannot be read, and say so."""
    model: str = "mlvae"
    """The generative model: mlvae, or vae, the baseline that knows nothing of groups."""
    guide: str = "auto"
    """The guide: product-of-normals, vae, or auto: the one that goes with the model."""
    likelihood: str = "normal"
    """Of x: normal, normal-learned (the paper's), bernoulli, or continuous-bernoulli."""
    content_dim: int = 16
    """Size of content, what a group shares."""
    style_dim: int = 4
    """Size of style, what an observation adds; a larger one lets more of the content leak in."""
    network: str = "auto"
    """Encoder and decoder: mlp (the paper's), conv, or auto: conv for images of 16x16 and more."""
    hidden: tuple[int, ...] = ()
    """Widths of the encoder's hidden layers, the decoder's in reverse; 500 for mlp, 256 for conv."""
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
    """The ELBO estimator: trace, mean-field (divergences in closed form), graph (equals trace here),
    renyi (one weight a minibatch), group-iwae and group-renyi (one weight a group), dreg (group-iwae with
    better gradients), stl (sticking the landing) or local (content drawn for every observation)."""
    num_particles: int = 1
    """Draws from the guide in every step."""
    alpha: float | None = None
    """The order of renyi and group-renyi; by default 0 and 0.5."""
    test_fraction: float = 0.2
    """How much of every group is held out, where the data comes with no test set of its own."""
    hold_out_groups: tuple[str, ...] = ()
    """Groups or super-groups, by name, that are held out whole: never seen in training."""
    hold_out_fraction: float = 0.0
    """As many of the groups, chosen at random, are held out whole."""
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
            ("guide", self.guide, ["auto", *GUIDES]),
            ("ELBO estimator", self.elbo, ESTIMATORS),
            ("sampler", self.sampler, SAMPLERS),
            ("network", self.network, ["auto", *NETWORKS]),
        ):
            if name not in known:
                raise unknown_name(what, name, known)
        own = MODELS[self.model][1]
        if self.guide not in ("auto", own):
            raise InputError(
                f"the model {self.model!r} goes with the guide {own!r}, got {self.guide!r}: leave guide out"
            )
        if self.alpha is not None:
            make_estimator(self.elbo, alpha=self.alpha)
        make_likelihood(self.likelihood)
        if self.hold_out_groups and self.hold_out_fraction:
            raise InputError("hold_out_groups and hold_out_fraction exclude each other: give one of them")
        if not self.learning_rate > 0.0:
            raise InputError(f"learning_rate must be positive, got {self.learning_rate}")
        require_seed(self.seed)

    def load(self, *, download: bool = False) -> GroupedDataset:
        """The data."""
        return load_dataset(
            self.data,
            self.data_root,
            download=download,
            image_size=self.image_size,
            grayscale=self.grayscale,
            skip_bad=self.skip_bad,
        )

    def split(self, data: GroupedDataset) -> tuple[RunConfig, GroupedDataset, GroupedDataset]:
        """The training and the held-out part, and this config with the held-out groups by name.

        By name the same groups are found again, however the data is ordered or has grown.
        """
        if not (self.hold_out_groups or self.hold_out_fraction):
            return self, *data.split(self.test_fraction, seed=self.seed)
        train, test = data.split_groups(self.hold_out_groups or self.hold_out_fraction, seed=self.seed)
        names = tuple(str(data.group_names[i]) for i in test.group.unique().tolist())
        named = replace(self, hold_out_groups=self.hold_out_groups or names, hold_out_fraction=0.0)
        return named, train, test

    def build(self, event_shape: Sequence[int]) -> tuple[MLVAE, GroupedGuide]:
        """The model and the guide with their initial weights, which follow from the seed alone."""
        likelihood = make_likelihood(self.likelihood)
        dims = (self.content_dim, self.style_dim)
        image = len(event_shape) == 3 and min(event_shape[1:]) >= SMALLEST_CONVOLVED
        name = self.network if self.network != "auto" else "conv" if image else "mlp"
        make_encoder, make_decoder, hidden = NETWORKS[name]
        hidden = self.hidden or hidden
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            decoder = make_decoder(event_shape, *dims, likelihood.outputs, hidden=hidden)
            encoder = make_encoder(event_shape, *dims, hidden=hidden)
        make_model, own_guide = MODELS[self.model]
        make_guide = GUIDES[own_guide if self.guide == "auto" else self.guide]
        return make_model(decoder, likelihood, *dims), make_guide(encoder)

    def make_sampler(self, data: GroupedDataset) -> Sampler:
        """The sampler of training minibatches; data on disk is read ahead where there is a core for it."""
        mean_size = len(data) / int((data.sizes > 0).sum())
        large = mean_size > 4 * self.observations_per_group
        sampler: Sampler
        if self.sampler == "observations" or (self.sampler == "auto" and large):
            together = self.groups_per_batch * self.observations_per_group
            sampler = ObservationSampler(data, together, seed=self.seed)
        else:
            sampler = GroupSampler(data, self.groups_per_batch, self.observations_per_group, seed=self.seed)
        return ahead_if_spare(sampler) if data.on_disk else sampler
