r"""The mean of several importance-weighted bounds of each group.

.. math:: \frac{1}{M} \sum_{m=1}^{M} \sum_G \log \frac{1}{K} \sum_{k=1}^{K} w_{G,m,k}

K inner particles tighten the bound; M outer ones make its gradient less noisy. With M = 1 it is
group-iwae, with K = 1 the ELBO.

Reference: Rainforth et al. (2018), arXiv 1802.04537, section 5.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.estimators.group_renyi import GroupIWAE


class GroupMIWAE(GroupIWAE):
    """The mean of ``outer`` bounds :class:`GroupIWAE`, of ``num_particles / outer`` weights each.

    Args:
        num_particles: draws in all, outer times inner.
        outer: how many bounds are averaged; by default :func:`most_square`, so 2 of 10 and 10 of
            100.

    Raises:
        InputError: ``outer`` does not divide ``num_particles``.

    >>> GroupMIWAE(10).outer, GroupMIWAE(10, outer=5).outer
    (2, 5)
    """

    def __init__(self, num_particles: int = 1, outer: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_particles, **kwargs)
        self.outer = outer_of(num_particles, outer)

    def bound(self, log_weights: Float[Tensor, "particles groups"]) -> Float[Tensor, " groups"]:
        """The bound of each group, in nats, from its log weights; neighbours are in one mean."""
        inside = log_weights.unflatten(0, (self.outer, -1))
        return (torch.logsumexp(inside, 1) - math.log(inside.shape[1])).mean(0)


def most_square(num_particles: int) -> int:
    """The largest divisor of a number that is at most its square root; of a prime it is 1.

    >>> [most_square(number) for number in (1, 7, 10, 12, 100)]
    [1, 1, 2, 3, 10]
    """
    return max(m for m in range(1, math.isqrt(num_particles) + 1) if num_particles % m == 0)


def outer_of(num_particles: int, outer: int | None) -> int:
    """``outer`` if it is given, else :func:`most_square`.

    Raises:
        InputError: it does not divide ``num_particles``.
    """
    if outer is None:
        return most_square(num_particles)
    require_positive(outer=outer)
    if num_particles % outer:
        raise InputError(
            f"outer must divide num_particles = {num_particles}, got {outer}: the particles are "
            f"outer times inner ones"
        )
    return outer
