"""The ELBO of held-out observations, in groups that are the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.enum import get_importance_trace
from torch import Tensor, nn

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators import ElboTerms
from pyro_mlvae.estimators.group_weights import (
    GROUPS,
    SUPER_GROUPS,
    group_frame,
    log_weights_by_plate,
    sum_upwards,
)
from pyro_mlvae.estimators.pathwise import pin, sample_sites
from pyro_mlvae.estimators.programs import in_mode
from pyro_mlvae.models import VAE, ThreeLevelMLVAE
from pyro_mlvae.training import elbo_terms

GROUPS_AT_ONCE = 100
SUPER_GROUP_SAMPLES = 10

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
    three_level = isinstance(model, ThreeLevelMLVAE)
    groups = _whole_groups(data, observations_per_group, seed, super_groups=three_level)
    for number, batch in enumerate(groups):
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
    ``seed``, and the caller's random state and parameter store are left as they were; model and guide
    run in evaluation mode.

    Where groups share latents of their super-group, these are drawn 10 times, and given each draw the rest
    K times: a bound on the log evidence of each super-group.

    Returns:
        Nats, ``[num_groups]`` or ``[num_parents]``, in float64.

    Reference: Burda, Grosse, Salakhutdinov (2016), arXiv 1509.00519.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> bound = group_iwae(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch, 5)
    >>> torch.allclose(bound, solved.log_evidence(batch))
    True
    """
    require_positive(importance_samples=importance_samples)
    device = batch.x.device
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),
        in_mode(model, guide, training=False),
    ):
        of_guide = poutine.trace(guide).get_trace(batch)
        shared = [
            name
            for name, site in sample_sites(of_guide)
            if group_frame(name, site, batch).name == SUPER_GROUPS
        ]
        torch.manual_seed(seed)
        if not shared:
            weights = (_log_weights(model, guide, batch) for _ in range(importance_samples))
            return _log_mean_exp(sum_upwards(by_plate, batch) for by_plate in weights)
        return _log_mean_exp(
            _super_group_weight(model, guide, batch, shared, importance_samples)
            for _ in range(SUPER_GROUP_SAMPLES)
        )


def _super_group_weight(
    model: Program, guide: Program, batch: GroupedBatch, shared: Sequence[str], importance_samples: int
) -> Tensor:
    """The log weight of each super-group for one draw of the latents that its groups share.

    Given that draw its groups are independent, so the mean over samples is taken group by group; their
    product stays unbiased, which one weight for all of the super-group would be too, but far wider.
    """
    drawn = poutine.trace(guide).get_trace(batch)
    values: dict[str, Tensor] = {name: drawn.nodes[name]["value"] for name in shared}  # type: ignore[misc]
    pair = pin(model, values), pin(guide, values)
    above: Any = None

    def of_groups() -> Iterator[Tensor]:
        nonlocal above
        for _ in range(importance_samples):
            by_plate = _log_weights(*pair, batch)
            above = by_plate.pop(SUPER_GROUPS)
            yield sum_upwards(by_plate, batch)

    inside = _log_mean_exp(of_groups())
    return sum_upwards({GROUPS: inside, SUPER_GROUPS: above}, batch)


def _log_weights(model: Program, guide: Program, batch: GroupedBatch) -> dict[str, Tensor]:
    of_model, of_guide = get_importance_trace("flat", math.inf, model, guide, (batch,), {})
    by_plate = log_weights_by_plate(of_model, of_guide, batch)
    return {plate: terms.double() for plate, terms in by_plate.items()}


def _log_mean_exp(samples: Iterable[Tensor]) -> Tensor:
    """Of samples one at a time: the traces of many are large, and a running sum is all that is kept."""
    total, count = torch.tensor(-math.inf), 0
    for sample in samples:
        total, count = torch.logaddexp(total.to(sample), sample), count + 1
    return total - math.log(count)


def _whole_groups(
    data: GroupedDataset, observations_per_group: int, seed: int, *, super_groups: bool
) -> Iterator[GroupedBatch]:
    """:func:`fixed_groups`, a number of them at a time, so that memory does not grow with the data.

    Super-groups that matter are not cut: they come one at a time.
    """
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, observations_per_group, generator)
    if super_groups and data.parent is not None:
        own = data.parent[data.group[index]]
        order = torch.argsort(own, stable=True)
        parts = order.split(torch.unique_consecutive(own[order], return_counts=True)[1].tolist())
    else:
        order = torch.argsort(group, stable=True)
        ends = torch.searchsorted(group[order], torch.arange(0, int(group.max()) + 1, GROUPS_AT_ONCE))
        parts = order.tensor_split(ends[1:])
    for part in parts:
        yield data.batch(index[part], group[part])
