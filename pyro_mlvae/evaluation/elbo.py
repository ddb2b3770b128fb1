"""The ELBO of held-out observations, in groups that are the same for every model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators import ElboTerms, nested_bound
from pyro_mlvae.estimators.group_weights import drawn_log_weights, has_super_groups
from pyro_mlvae.estimators.programs import Program, in_mode, module_of, place_of, seeded
from pyro_mlvae.models import VAE
from pyro_mlvae.training import elbo_terms

GROUPS_AT_ONCE = 100


def fixed_groups(
    data: GroupedDataset, observations_per_group: int = 10, *, seed: int = 0
) -> GroupedBatch:
    """``data`` in fixed, seeded groups of ``observations_per_group``; the rest makes smaller ones.

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
    model: Program,
    guide: Program,
    data: GroupedDataset,
    *,
    observations_per_group: int = 10,
    num_particles: int = 10,
    content_draws: int = 20,
    style_draws: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """The ``elbo`` part of metrics.json: the ELBO of ``data`` in :func:`fixed_groups`.

    Args:
        model: the model.
        guide: its guide.
        data: held-out observations.
        observations_per_group: the size of the groups they are put in.
        num_particles: draws from the guide that are averaged.
        content_draws: for each group, in the tighter bound; see :func:`nested_bound`.
        style_draws: for each observation there, given each content.
        seed: of the grouping and of the draws.

    Returns:
        Nats (pseudo-nats where the likelihood is no density): ``per_group`` for a group, all the
        others for an observation. Standard errors say how far other held-out groups (super-groups,
        where these have latents) might lie from these; they are None of a single one.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([5, 5]))
    >>> data = GroupedDataset.from_arrays(batch.x, batch.group)
    >>> found = elbo_metrics(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), data)
    >>> evidence = solved.log_evidence(batch).sum() / 10
    >>> abs(found["nested_iwae_per_observation"] - float(evidence)) < 1e-8
    True
    """
    require_positive(
        num_particles=num_particles, content_draws=content_draws, style_draws=style_draws
    )
    terms, elbos, bounds, sizes = ElboTerms(), [], [], []
    place = place_of(guide, model)
    super_groups = _draws_super_groups(guide, data.batch(torch.arange(1)).to(**place))
    for number, whole in enumerate(_whole_groups(data, observations_per_group, seed, super_groups)):
        batch, own_seed = whole.to(**place), mixed_seed(seed, number)
        terms = terms + elbo_terms(model, guide, batch, num_particles=num_particles, seed=own_seed)
        # The divergences above are sums over the batch; what groups differ by is taken from draws.
        # To a VAE an observation is a group.
        own = batch.singletons() if isinstance(module_of(model), VAE) else batch
        single = []
        for draw in range(num_particles):
            with seeded(model, guide, device=batch.x.device, seed=mixed_seed(own_seed, draw)):
                single.append(drawn_log_weights(model, guide, own).double())
        bound = nested_bound(model, guide, own, content_draws, style_draws, seed=own_seed)
        elbos.append(_in_groups(torch.stack(single).mean(0), own, batch))
        bounds.append(_in_groups(bound, own, batch))
        unit = whole.super_groups()[whole.group] if super_groups else whole.group
        sizes.append(unit.bincount())
    bound, size = torch.cat(bounds), torch.cat(sizes)
    per_observation = terms.per_observation()
    return {
        "per_observation": per_observation.pop("elbo"),
        "standard_error": _standard_error(torch.cat(elbos), size),
        "per_group": float(terms.elbo) / terms.groups,
        **per_observation,
        "nested_iwae_per_observation": float(bound.sum()) / terms.observations,
        "nested_iwae_standard_error": _standard_error(bound, size),
        "content_draws": content_draws,
        "style_draws": style_draws,
        "observations": terms.observations,
        "groups": terms.groups,
        "observations_per_group": observations_per_group,
        "units": getattr(getattr(model, "likelihood", None), "units", "nats"),
    }


def _draws_super_groups(guide: Program, batch: GroupedBatch) -> bool:
    with pyro.get_param_store().scope(), in_mode(guide, training=False):
        return has_super_groups(guide, batch)


def _in_groups(values: Tensor, own: GroupedBatch, batch: GroupedBatch) -> Tensor:
    """Values of the units of ``own``, summed into the groups of ``batch``, on the CPU."""
    if own is batch:
        return values.cpu()
    return values.new_zeros(batch.num_groups).index_add(0, batch.group, values).cpu()


def _standard_error(values: Tensor, sizes: Tensor) -> float | None:
    """Of the mean per observation: that of a ratio of two sums (Cochran 1977, chapter 6)."""
    count, total = len(values), float(sizes.sum())
    if count < 2:
        return None
    residuals = values - sizes * (values.sum() / total)
    return math.sqrt(count / (count - 1) * float(residuals.square().sum())) / total


def _whole_groups(
    data: GroupedDataset, observations_per_group: int, seed: int, super_groups: bool
) -> Iterator[GroupedBatch]:
    """:func:`fixed_groups`, a number of them at a time, so that memory does not grow with the data.

    Super-groups that matter are not cut: they come one at a time.
    """
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, observations_per_group, generator)
    if super_groups:
        assert data.parent is not None
        own = data.parent[data.group[index]]
        order = torch.argsort(own, stable=True)
        parts = order.split(torch.unique_consecutive(own[order], return_counts=True)[1].tolist())
    else:
        order = torch.argsort(group, stable=True)
        ends = torch.searchsorted(
            group[order], torch.arange(0, int(group.max()) + 1, GROUPS_AT_ONCE)
        )
        parts = order.tensor_split(ends[1:])
    for part in parts:
        yield data.batch(index[part], group[part])
