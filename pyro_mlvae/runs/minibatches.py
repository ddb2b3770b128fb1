"""The minibatches that a run trains on."""

from __future__ import annotations

from pyro_mlvae.data import GroupedDataset, GroupSampler, ObservationSampler, Sampler, ahead_if_spare
from pyro_mlvae.data.samplers import Singletons
from pyro_mlvae.runs.config import RunConfig

# Estimators that ask for the groups of a batch, which a VAE's latents do not follow.
_OF_GROUPS = ("group-iwae", "group-renyi", "dreg", "local")


def make_sampler(config: RunConfig, data: GroupedDataset) -> Sampler:
    """The sampler of training minibatches; data on disk is read ahead where there is a core for it."""
    sampler: Sampler = _sampler(config, data)
    if config.model == "vae" and config.elbo in _OF_GROUPS:
        sampler = Singletons(sampler)
    return ahead_if_spare(sampler) if data.on_disk else sampler


def _sampler(config: RunConfig, data: GroupedDataset) -> GroupSampler | ObservationSampler:
    mean_size = len(data) / int((data.sizes > 0).sum())
    large = mean_size > 4 * config.observations_per_group
    if config.sampler == "observations" or (config.sampler == "auto" and large):
        together = min(config.groups_per_batch * config.observations_per_group, len(data))
        return ObservationSampler(data, together, seed=config.seed)
    return GroupSampler(data, config.groups_per_batch, config.observations_per_group, seed=config.seed)
