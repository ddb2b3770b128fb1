r"""Consistency of content: do intervals from a few observations cover the whole group's?

A few observations give the content posterior :math:`N(m, s^2)`, the whole group :math:`N(M, S^2)`,
in each dimension. A central interval of the first promises to hold content with probability
``level``; it holds

.. math:: \Phi\Big(\frac{m + z s - M}{S}\Big) - \Phi\Big(\frac{m - z s - M}{S}\Big), \qquad
    z = \Phi^{-1}\Big(\frac{1 + \text{level}}{2}\Big)

of the draws from the second. Less than promised is content too sure of itself, more is content too
unsure. The guide is compared with itself, so a guide that is wrong in the same way everywhere
passes. Whether it agrees with the model is what :func:`~pyro_mlvae.evaluation.run_sbc` measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.distributions import Normal
from torch.special import ndtr, ndtri

from pyro_mlvae.data import regroup
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.ops.evidence import Evidence


def self_consistency_metrics(
    expert: Normal,
    group: Int64[Tensor, " observations"],
    *,
    ks: Sequence[int] = (1, 2, 5, 10),
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    seed: int = 0,
) -> dict[str, Any] | None:
    """The ``calibration`` of metrics.json's diagnostics: coverage of intervals from k observations.

    Each group of at least 2k observations is cut at random into pieces of k, and coverage is
    averaged over pieces and dimensions, without Monte Carlo. Smaller groups are left out: a piece
    agrees with itself, so where it is most of its group, coverage comes out as promised whatever
    the guide says.

    Both products are measured: of the experts alone, and with the prior N(0, I) as one more expert.
    Where experts are exact, the first covers as promised for contents of any distribution, the
    second for contents drawn from the prior.

    Args:
        expert: each observation's factor of its group's content, batch shape ``[N, content]``, as
            :func:`pyro_mlvae.latents.encoding.experts` gives it.
        group: the group of each observation, ``[N]``, any integers.
        ks: numbers of observations in a piece.
        levels: what central intervals promise, between 0 and 1.
        seed: of the cuts.

    Returns:
        ``{"k": [...], "levels": [...], "without_prior": [...], "with_prior": [...],
        "observations_of_whole_group": size}``: for each k one coverage a level, or None where no
        group is large enough, and the median size of the groups that take part for the smallest k.
        None where no group is large enough for any k.

    Raises:
        InputError: a k that is not positive, or a level that is not between 0 and 1.

    >>> generator = torch.Generator().manual_seed(0)
    >>> content = torch.randn(500, 1, generator=generator).repeat_interleave(4, 0)
    >>> seen = content + torch.randn(2000, 1, generator=generator)
    >>> group = torch.arange(500).repeat_interleave(4)
    >>> expert = Normal(seen, torch.ones_like(seen))
    >>> honest = self_consistency_metrics(expert, group, ks=[1, 3], levels=[0.9])
    >>> [round(coverage, 1) for coverage in honest["with_prior"][0]], honest["with_prior"][1]
    ([0.9], None)
    >>> narrow = Normal(seen, 0.5 * torch.ones_like(seen))
    >>> too_sure = self_consistency_metrics(narrow, group, levels=[0.9])
    >>> too_sure["with_prior"][0][0] < 0.8
    True
    """
    for k in ks:
        require_positive(k=k)
    require_seed(seed)
    if not ks:
        raise InputError(
            "ks must hold at least one number of observations, got none: try (1, 2, 5, 10)"
        )
    if not all(0.0 < level < 1.0 for level in levels):
        raise InputError(
            f"levels must lie between 0 and 1, got {list(levels)}: give each as a share, such as "
            "0.9"
        )
    experts = Normal(expert.loc.double().cpu(), expert.scale.double().cpu())
    _, group, size = torch.unique(group.cpu(), return_inverse=True, return_counts=True)
    rows = [_coverages(experts, group, size, k, levels, seed) for k in ks]
    if not any(rows):
        return None
    return {
        "k": list(ks),
        "levels": list(levels),
        "without_prior": [row and row[0] for row in rows],
        "with_prior": [row and row[1] for row in rows],
        "observations_of_whole_group": float(size[size >= 2 * min(ks)].double().quantile(0.5)),
    }


def coverage(few: Normal, whole: Normal, level: float) -> Float64[Tensor, "pieces content"]:
    """The probability under ``whole`` of the central interval of ``few``, by this module's formula.

    Args:
        few: the posterior whose interval it is, batch shape ``[pieces, content]``, in float64.
        whole: the posterior that is drawn from, the same shape.
        level: the probability of the interval under ``few`` itself.

    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> coverage(Normal(0 * one, one), Normal(0 * one, one), 0.9)
    tensor([[0.9000]], dtype=torch.float64)
    """
    z = ndtri(few.loc.new_tensor((1.0 + level) / 2.0))
    low, high = few.loc - z * few.scale, few.loc + z * few.scale
    return ndtr((high - whole.loc) / whole.scale) - ndtr((low - whole.loc) / whole.scale)


def _coverages(
    expert: Normal, group: Tensor, size: Tensor, k: int, levels: Sequence[float], seed: int
) -> tuple[list[float], list[float]] | None:
    """Coverage by level from k observations: without the prior, and with it."""
    candidates = (size[group] >= 2 * k).nonzero().flatten()
    if not len(candidates):
        return None
    chosen, piece = regroup(
        group[candidates], k, torch.Generator().manual_seed(seed), drop_smaller=True
    )
    index = candidates[chosen]
    pieces = int(piece.max()) + 1
    of_group = torch.empty(pieces, dtype=torch.int64).index_copy(0, piece, group[index])
    few = Evidence.from_normals(Normal(expert.loc[index], expert.scale[index]), piece, pieces)
    whole = Evidence.from_normals(expert, group, len(size))

    def by_level(prior: Normal | None) -> list[float]:
        judge = whole.posterior(prior)
        judge = Normal(judge.loc[of_group], judge.scale[of_group])
        return [float(coverage(few.posterior(prior), judge, level).mean()) for level in levels]

    dim = expert.loc.shape[1]
    return by_level(None), by_level(Normal(torch.zeros(dim), torch.ones(dim)))
