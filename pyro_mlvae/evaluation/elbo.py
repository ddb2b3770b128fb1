"""The ELBO of held-out observations, in groups that are the same for every model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.training import ElboTerms, elbo_terms

GROUPS_AT_ONCE = 100


def fixed_groups(data: GroupedDataset, observations_per_group: int = 10, *, seed: int = 0) -> GroupedBatch:
    """``data`` in fixed, seeded groups of ``observations_per_group``; what remains makes smaller ones.

    The ELBO of grouped data depends on the grouping, so models are only to be compared on the same
    groups.

    >>> from pyro_mlvae import load_dataset
    >>> fixed_groups(load_dataset("digits"), 100).num_groups
    20
    """
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, observations_per_group, generator)
    return data.batch(index, group)


def elbo_metrics(
    model: Callable[[GroupedBatch], Any],
    guide: Callable[[GroupedBatch], Any],
    data: GroupedDataset,
    *,
    observations_per_group: int = 10,
    num_particles: int = 10,
    seed: int = 0,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """The ``elbo`` part of metrics.json: the ELBO of ``data`` in :func:`fixed_groups`, and its terms.

    Args:
        model: the model.
        guide: its guide.
        data: held-out observations.
        observations_per_group: the size of the groups they are put in.
        num_particles: draws from the guide that are averaged.
        seed: of the grouping and of the draws.
        device: where to compute.

    Returns:
        Nats (pseudo-nats where the likelihood is no density): ``per_group`` for a group, all the
        others for an observation.
    """
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, observations_per_group, generator)
    order = torch.argsort(group, stable=True)
    terms = ElboTerms()
    # A number of whole groups at a time, so that memory does not grow with the data.
    ends = torch.searchsorted(group[order], torch.arange(0, int(group.max()) + 1, GROUPS_AT_ONCE))
    for number, part in enumerate(order.tensor_split(ends[1:])):
        batch = data.batch(index[part], group[part]).to(device)
        draws = {"num_particles": num_particles, "seed": mixed_seed(seed, number)}
        terms = terms + elbo_terms(model, guide, batch, **draws)
    per_observation = terms.per_observation()
    return {
        "per_observation": per_observation.pop("elbo"),
        "per_group": float(terms.elbo) / terms.groups,
        **per_observation,
        "group_iwae_per_observation": None,
        "observations": terms.observations,
        "groups": terms.groups,
        "observations_per_group": observations_per_group,
        "units": getattr(getattr(model, "likelihood", None), "units", "nats"),
    }
