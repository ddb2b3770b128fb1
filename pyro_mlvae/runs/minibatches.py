"""The minibatches that a run trains on."""

from __future__ import annotations

from pyro_mlvae.data import (
    GroupedDataset,
    GroupSampler,
    ObservationSampler,
    Sampler,
    ahead_if_spare,
)
from pyro_mlvae.data.augment import augmented
from pyro_mlvae.data.samplers import Singletons
from pyro_mlvae.runs.config import RunConfig

# Estimators that ask for the groups of a batch, which a VAE's latents do not follow.
_OF_GROUPS = ("group-iwae", "group-renyi", "dreg", "local")


def make_sampler(config: RunConfig, data: GroupedDataset) -> Sampler:
    """The sampler of training minibatches; data on disk is read ahead where there is a core for it."""
    sampler = augmented(_sampler(config, data), config.augment, data.event_shape, seed=config.seed)
    if config.model == "vae" and config.elbo in _OF_GROUPS:
        sampler = Singletons(sampler)
    return ahead_if_spare(sampler) if data.on_disk else sampler


def steps_of_an_epoch(config: RunConfig, data: GroupedDataset) -> int:
    """The number of minibatches in an epoch."""
    return sum(1 for _ in _sampler(config, data).indices(0))


def size_of_groups(config: RunConfig, data: GroupedDataset) -> int:
    """How many observations a group has in a minibatch, on average."""
    index = next(_sampler(config, data).indices(0))
    return round(len(index) / len(data.group[index].unique()))


def _sampler(config: RunConfig, data: GroupedDataset) -> GroupSampler | ObservationSampler:
    mean_size = len(data) / int((data.sizes > 0).sum())
    large = mean_size > 4 * config.observations_per_group
    if config.sampler == "observations" or (config.sampler == "auto" and large):
        together = min(config.groups_per_batch * config.observations_per_group, len(data))
        return ObservationSampler(data, together, seed=config.seed)
    return GroupSampler(
        data, config.groups_per_batch, config.observations_per_group, seed=config.seed
    )
