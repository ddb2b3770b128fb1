"""The ELBO of held-out observations, in groups that are the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import torch
from pyro.infer.enum import get_importance_trace
from torch import Tensor, nn

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators import group_log_weights
from pyro_mlvae.models import VAE
from pyro_mlvae.training import ElboTerms, elbo_terms

GROUPS_AT_ONCE = 100

Program = Callable[[GroupedBatch], Any]


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
    model: Program,
    guide: Program,
    data: GroupedDataset,
    *,
    observations_per_group: int = 10,
    num_particles: int = 10,
    importance_samples: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """The ``elbo`` part of metrics.json: the ELBO of ``data`` in :func:`fixed_groups`, and its terms.

    Args:
        model: the model.
        guide: its guide.
        data: held-out observations.
        observations_per_group: the size of the groups they are put in.
        num_particles: draws from the guide that are averaged.
        importance_samples: draws that are weighted in the tighter bound, :func:`group_iwae`.
        seed: of the grouping and of the draws.

    Returns:
        Nats (pseudo-nats where the likelihood is no density): ``per_group`` for a group, all the
        others for an observation.
    """
    terms, bound = ElboTerms(), 0.0
    like = next(guide.parameters()) if isinstance(guide, nn.Module) else None
    for number, batch in enumerate(_whole_groups(data, observations_per_group, seed)):
        if like is not None:
            batch = batch.to(like.device, like.dtype)
        own_seed = mixed_seed(seed, number)
        terms = terms + elbo_terms(model, guide, batch, num_particles=num_particles, seed=own_seed)
        # To a VAE an observation is a group: weights that are multiplied over several are looser.
        unit = batch.singletons() if isinstance(model, VAE) else batch
        bound += float(group_iwae(model, guide, unit, importance_samples, seed=own_seed).sum())
    per_observation = terms.per_observation()
    return {
        "per_observation": per_observation.pop("elbo"),
        "per_group": float(terms.elbo) / terms.groups,
        **per_observation,
        "group_iwae_per_observation": bound / terms.observations,
        "importance_samples": importance_samples,
        "observations": terms.observations,
        "groups": terms.groups,
        "observations_per_group": observations_per_group,
        "units": getattr(getattr(model, "likelihood", None), "units", "nats"),
    }


@torch.no_grad()
def group_iwae(
    model: Program, guide: Program, batch: GroupedBatch, importance_samples: int, *, seed: int = 0
) -> Tensor:
    r"""A bound on the log evidence of each group that tightens with the number K of samples.

    .. math:: \log \frac{1}{K} \sum_k \frac{p(X_G, C_G^k, S_G^k)}{q(C_G^k, S_G^k \mid X_G)}

    Its expectation is the ELBO for K = 1, and rises towards the evidence. The draws are fixed by
    ``seed``, and the caller's random state and parameter store are left as they were.

    Returns:
        Nats, ``[num_groups]``, in float64.

    Reference: Burda, Grosse, Salakhutdinov (2016), arXiv 1509.00519.

    >>> from pyro_mlvae import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> bound = group_iwae(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch, 5)
    >>> torch.allclose(bound, solved.log_evidence(batch))
    True
    """
    require_positive(importance_samples=importance_samples)
    device = batch.x.device
    total = torch.full((batch.num_groups,), -math.inf, dtype=torch.float64, device=device)
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),
    ):
        torch.manual_seed(seed)
        # One sample at a time: the traces of many are large, and a running sum is all that is kept.
        for _ in range(importance_samples):
            of_model, of_guide = get_importance_trace("flat", math.inf, model, guide, (batch,), {})
            total = torch.logaddexp(total, group_log_weights(of_model, of_guide, batch).double())
    return total - math.log(importance_samples)


def _whole_groups(data: GroupedDataset, observations_per_group: int, seed: int) -> Iterator[GroupedBatch]:
    """:func:`fixed_groups`, a number of them at a time, so that memory does not grow with the data."""
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, observations_per_group, generator)
    order = torch.argsort(group, stable=True)
    ends = torch.searchsorted(group[order], torch.arange(0, int(group.max()) + 1, GROUPS_AT_ONCE))
    for part in order.tensor_split(ends[1:]):
        yield data.batch(index[part], group[part])
