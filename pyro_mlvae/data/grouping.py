"""Random choices inside ragged groups, vectorised: no Python that scales with the groups."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_mlvae.errors import require_positive


def random_rank(group: Tensor, generator: torch.Generator) -> Tensor:
    """A random order inside each group: the rank of each observation, 0 to its group's size - 1.

    >>> random_rank(torch.tensor([7, 3, 7]), torch.Generator().manual_seed(0)).sort().values
    tensor([0, 0, 1])
    """
    shuffled = torch.randperm(len(group), generator=generator)
    order = shuffled[torch.argsort(group[shuffled], stable=True)]
    _, counts = torch.unique_consecutive(group[order], return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(group)) - starts
    return rank


def subsample_groups(group: Tensor, size: Tensor | int, generator: torch.Generator) -> Tensor:
    """Choose up to ``size`` (one number, or one a group) observations of each group at random.

    Returns:
        A mask of the chosen, bool ``[N]``.
    """
    limit = size if isinstance(size, int) else size[group]
    return random_rank(group, generator) < limit


def regroup(
    group: Tensor, size: int, generator: torch.Generator, *, drop_smaller: bool = False
) -> tuple[Tensor, Tensor]:
    """Cut each group at random into groups of ``size`` observations.

    Args:
        group: index of each observation's group, int64 ``[N]``.
        size: observations in each new group.
        generator: source of the randomness.
        drop_smaller: leave out what remains of each group, which is otherwise one smaller group.

    Returns:
        ``(index, new_group)``: which observations, and the number of the new group of each, from 0.

    >>> generator = torch.Generator().manual_seed(0)
    >>> index, new_group = regroup(torch.tensor([0, 0, 0, 1]), 2, generator)
    >>> new_group.bincount()
    tensor([2, 1, 1])
    """
    require_positive(size=size)
    piece = random_rank(group, generator) // size
    number = piece + group * (int(piece.max()) + 1)
    _, new_group, counts = torch.unique(number, return_inverse=True, return_counts=True)
    if not drop_smaller:
        return torch.arange(len(group)), new_group
    index = (counts[new_group] == size).nonzero().flatten()
    if len(index):
        new_group = torch.unique(new_group[index], return_inverse=True)[1]
    return index, new_group if len(index) else new_group[index]
