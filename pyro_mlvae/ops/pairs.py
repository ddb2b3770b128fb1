r"""Normals of pairs of observations, of whose dimensions some are shared: which, is inferred.

.. math:: \delta_d = KL(q_{1d} \,\|\, q_{2d}), \qquad
    d \text{ is shared if } \delta_d < \tfrac{1}{2} (\max_e \delta_e + \min_e \delta_e)

Reference: Locatello et al. (2020), "Weakly-supervised disentanglement without compromises",
arXiv 2002.02886, section 4.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def partners(group: Int64[Tensor, " members"], num_groups: int) -> Int64[Tensor, " members"]:
    """The other member of each member's pair: those of a group are paired as they come.

    The last of an odd number is alone, and its own partner.

    >>> partners(torch.tensor([0, 1, 0, 0, 1]), 2)
    tensor([2, 4, 0, 3, 1])
    """
    sizes = group.new_zeros(num_groups).index_add(0, group, torch.ones_like(group))
    start = (sizes.cumsum(0) - sizes).index_select(0, group)
    order = group.argsort(stable=True)
    place = torch.empty_like(order).scatter(0, order, torch.arange(len(group), device=group.device))
    rank = place - start
    other = rank ^ 1
    alone = other >= sizes.index_select(0, group)
    return order.index_select(0, start + torch.where(alone, rank, other))


def shared_dimensions(
    loc: Float[Tensor, "members dim"],
    log_variance: Float[Tensor, "members dim"],
    partner: Int64[Tensor, " members"],
) -> Bool[Tensor, "members dim"]:
    """Which dimensions each member shares with its partner; of one that is alone, none.

    The divergence is that of a pair's first member from its second, so it is the same for both.

    >>> loc = torch.tensor([[0.0, 0.0, 5.0], [0.1, 4.0, 0.0]])
    >>> shared_dimensions(loc, torch.zeros(2, 3), torch.tensor([1, 0]))
    tensor([[ True, False, False],
            [ True, False, False]])
    """
    other_log_variance = log_variance.index_select(0, partner)
    difference = log_variance - other_log_variance
    square = (loc - loc.index_select(0, partner)).square()
    divergence = 0.5 * (difference.exp() + square / other_log_variance.exp() - 1.0 - difference)
    is_first = (torch.arange(len(loc), device=loc.device) <= partner).unsqueeze(-1)
    divergence = torch.where(is_first, divergence, divergence.index_select(0, partner))
    middle = 0.5 * (divergence.amax(-1, keepdim=True) + divergence.amin(-1, keepdim=True))
    return divergence < middle


def product_of_two(
    loc: Tensor, log_variance: Tensor, other_loc: Tensor, other_log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Loc and log variance of the normalised product of two Normals: precisions add.

    >>> zero = torch.zeros(1)
    >>> product_of_two(zero, zero, zero + 2.0, zero)
    (tensor([1.]), tensor([-0.6931]))
    """
    weight = (other_log_variance - log_variance).sigmoid()
    log_precision = torch.logaddexp(-log_variance, -other_log_variance)
    return torch.lerp(other_loc, loc, weight), -log_precision


def average_of_two(
    loc: Tensor, log_variance: Tensor, other_loc: Tensor, other_log_variance: Tensor
) -> tuple[Tensor, Tensor]:
    """Loc and log variance of a Normal whose loc and variance are the means of those of two.

    >>> zero = torch.zeros(1)
    >>> average_of_two(zero, zero, zero + 2.0, zero)
    (tensor([1.]), tensor([0.]))
    """
    log_mean = torch.logaddexp(log_variance, other_log_variance) - math.log(2.0)
    return torch.lerp(loc, other_loc, 0.5), log_mean
