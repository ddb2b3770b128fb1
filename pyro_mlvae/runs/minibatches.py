"""The minibatches that a run trains on, how long, and what it is judged by on the way."""

from __future__ import annotations

from typing import Any

import torch

from pyro_mlvae.data import (
    GroupedBatch,
    GroupedDataset,
    GroupSampler,
    ObservationSampler,
    Sampler,
    ahead_if_spare,
)
from pyro_mlvae.data.augment import augmented
from pyro_mlvae.data.grouping import subsample_groups
from pyro_mlvae.data.samplers import Singletons
from pyro_mlvae.evaluation import fixed_groups
from pyro_mlvae.runs.config import RunConfig

# Estimators that ask for the groups of a batch, which a VAE's latents do not follow.
_OF_GROUPS = ("group-iwae", "group-renyi", "dreg", "local")
# The validation ELBO is measured about so many times in a run.
_MEASUREMENTS = 50


def make_sampler(config: RunConfig, data: GroupedDataset) -> Sampler:
    """The sampler of training minibatches; data on disk is read ahead if a core is spare."""
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


def schedule(
    config: RunConfig, train: GroupedDataset, validation: GroupedDataset
) -> dict[str, Any]:
    """What :func:`~pyro_mlvae.fit` takes for a run: budget, patience and what is measured.

    The validation batch has its observations in groups of the size that training's minibatches have
    on average, as far as there are so many of a group: the ELBO depends on the size. The
    training part is as many training observations in groups of the same sizes. Without a validation
    batch, a run is trained to its last step.

    >>> data = GroupedDataset.from_arrays([[float(i)] for i in range(30)], [0, 1, 2] * 10)
    >>> nothing = data.subset(data.group[:0])
    >>> schedule(RunConfig(), data, nothing)
    {'steps': 2000}
    """
    if not len(validation):
        return dict(config.budget)
    steps, size = steps_of_an_epoch(config, train), size_of_groups(config, train)
    epochs = config.epochs or config.budget["steps"] // steps
    return {
        **config.budget,
        "patience": config.patience or None,
        "validation": fixed_groups(validation, size, seed=config.seed),
        "training_part": _training_part(train, validation, size, config.seed),
        "validate_every": max(1, epochs // _MEASUREMENTS),
    }


def _training_part(
    train: GroupedDataset, validation: GroupedDataset, size: int, seed: int
) -> GroupedBatch:
    """As many training observations in as many groups of the same sizes, if there are."""
    generator = torch.Generator().manual_seed(seed)
    wanted = validation.sizes
    if (train.sizes[wanted > 0] == 0).any():
        # Validation has groups of its own: random ones of training stand for them, size by size.
        sizes = wanted[wanted > 0].sort(descending=True).values
        present = (train.sizes > 0).nonzero().flatten()
        chosen = present[torch.randperm(len(present), generator=generator)[: len(sizes)]]
        chosen = chosen[train.sizes[chosen].argsort(descending=True, stable=True)]
        wanted = torch.zeros_like(wanted).index_copy(0, chosen, sizes[: len(chosen)])
    taken = subsample_groups(train.group, wanted, generator).nonzero().flatten()
    return fixed_groups(train.subset(taken), size, seed=seed)


def _sampler(config: RunConfig, data: GroupedDataset) -> GroupSampler | ObservationSampler:
    mean_size = len(data) / int((data.sizes > 0).sum())
    large = mean_size > 4 * config.observations_per_group
    if config.sampler == "observations" or (config.sampler == "auto" and large):
        together = min(config.groups_per_batch * config.observations_per_group, len(data))
        return ObservationSampler(data, together, seed=config.seed)
    return GroupSampler(
        data, config.groups_per_batch, config.observations_per_group, seed=config.seed
    )
