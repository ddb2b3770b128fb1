"""Seeded draws among the members of ragged groups, vectorised."""

from __future__ import annotations

import torch
from torch import Tensor


def members(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Observations ordered by group, and where in that order each group starts, and its size."""
    group = group.cpu()
    _, size = torch.unique(group, return_counts=True)
    return torch.argsort(group, stable=True), size.cumsum(0) - size, size


def distinct(count: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """``number`` distinct values in ``0..count - 1``, in random order, for each of ``count [...]``."""
    chosen = torch.empty(*count.shape, 0, dtype=torch.int64)
    for i in range(number):
        # The value of that rank among those not chosen yet: past every smaller chosen one, in
        # order.
        value = below(count - i, generator)
        for taken in chosen.sort(-1).values.unbind(-1):
            value = value + (value >= taken)
        chosen = torch.cat([chosen, value.unsqueeze(-1)], -1)
    return chosen


def below(count: Tensor, generator: torch.Generator) -> Tensor:
    """A uniform whole number in ``0..count - 1`` for each of ``count``."""
    uniform = torch.rand(count.shape, generator=generator, dtype=torch.float64)
    return (uniform * count).long()
