"""Diagnostics of the posterior, as metrics.json has them: of a sample of groups."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.k_hat import check_k_hat, run_k_hat
from pyro_mlvae.evaluation.sbc import check_sbc, run_sbc
from pyro_mlvae.evaluation.self_consistency import self_consistency_metrics
from pyro_mlvae.guides import GroupedGuide, ThreeLevelGuide
from pyro_mlvae.latents.encoding import Codes, experts
from pyro_mlvae.models import MLVAE, VAE, ThreeLevelMLVAE

MOST_GROUPS = 40
# Ranks by site, and draws for each: enough to find scales that are wrong by a fifth.
RANKS, RANK_DRAWS = 400, 49
# Weights of each group, of which the 68 largest are its tail.
WEIGHTS = 500


def diagnostics_metrics(
    model: MLVAE,
    guide: GroupedGuide,
    data: GroupedDataset,
    codes: Codes,
    *,
    observations_per_group: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """The ``diagnostics`` part of metrics.json.

    Args:
        model: the trained model.
        guide: its guide.
        data: held-out observations.
        codes: what the guide says of them.
        observations_per_group: the size of the groups they are put in.
        seed: of the choice of groups and of every draw.

    Returns:
        ``{"calibration": ..., "simulation_based": ..., "k_hat": ...}``, by
        :func:`self_consistency_metrics`, :func:`check_sbc` and :func:`check_k_hat`. None is what is
        not defined: the first of a guide that multiplies no Normals, the second of a model that
        cannot be drawn from.
    """
    batch = _sample_of_groups(model, data, observations_per_group, seed)
    like = next(guide.parameters())
    batch = batch.to(like.device, like.dtype)
    # An average of experts promises something else than a product.
    multiplies = guide.multiplies_normals or isinstance(guide, ThreeLevelGuide)
    group = data.group.to(codes.features.device)
    return {
        "calibration": self_consistency_metrics(experts(guide, codes), group, seed=seed)
        if multiplies
        else None,
        "simulation_based": _simulation_based(model, guide, batch, seed),
        "k_hat": check_k_hat(run_k_hat(model, guide, batch, draws=WEIGHTS, seed=seed)),
    }


def _simulation_based(
    model: MLVAE, guide: GroupedGuide, batch: GroupedBatch, seed: int
) -> dict[str, Any] | None:
    units = batch.num_groups
    if isinstance(model, ThreeLevelMLVAE):
        units = batch.num_parents
    elif units <= MOST_GROUPS // 2:
        # Groups that are simulated side by side cost next to nothing, one after the other a pass
        # each.
        copies = torch.arange(MOST_GROUPS // units).repeat_interleave(len(batch)).to(batch.group)
        index = torch.arange(len(batch)).repeat(MOST_GROUPS // units).to(batch.group)
        batch = batch.regrouped(index, batch.group[index] + units * copies)
        units = batch.num_groups
    try:
        ranks = run_sbc(
            model, guide, batch, simulations=math.ceil(RANKS / units), draws=RANK_DRAWS, seed=seed
        )
        return check_sbc(ranks, draws=RANK_DRAWS)
    except InputError:  # A model of the user's own need not be able to draw x.
        return None


def _sample_of_groups(
    model: MLVAE, data: GroupedDataset, observations_per_group: int, seed: int
) -> GroupedBatch:
    """At most 40 random groups; where super-groups matter they come whole, one at the least."""
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, observations_per_group, generator)
    whole = group
    if isinstance(model, ThreeLevelMLVAE) and data.parent is not None:
        whole = data.parent[data.group[index]]
    kept = _first_units(whole, group, generator)
    batch = data.batch(index[kept], group[kept])
    # To a VAE an observation is a group.
    return batch.singletons() if isinstance(model, VAE) else batch


def _first_units(unit: Tensor, group: Tensor, generator: torch.Generator) -> Tensor:
    """The observations of random units that hold at most 40 groups in all."""
    names = unit.unique()
    names = names[torch.randperm(len(names), generator=generator)]
    unit_of_group = torch.stack([group, unit], 1).unique(dim=0)[:, 1]
    groups = unit_of_group.bincount()[names].cumsum(0)
    number = max(1, int((groups <= MOST_GROUPS).sum()))
    return torch.isin(unit, names[:number]).nonzero().flatten()
