"""Seeded few-shot episodes: the query and the shots of each group."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from pyro_mlvae.errors import InputError, require_positive, require_seed


def draw_episodes(
    group: Int64[Tensor, " observations"],
    ways: int,
    shots: int,
    episodes: int,
    seed: int,
    within: Int64[Tensor, " observations"] | None = None,
) -> tuple[Int64[Tensor, "episodes ways"], Int64[Tensor, "episodes ways shots"]]:
    """Queries and shots of seeded episodes, as indices of observations.

    Args:
        group: the group of each observation, any integers.
        ways: groups in an episode, drawn without replacement.
        shots: observations of each group that are given, beside one that is the query.
        episodes: how many episodes.
        seed: of the draws.
        within: the super-group of each observation. Each episode then draws a super-group first,
            all with the same probability, and its groups from that one alone.

    Raises:
        InputError: fewer than ``ways`` groups (of one super-group) have ``shots + 1`` observations.

    >>> query, given = draw_episodes(torch.arange(6).repeat_interleave(3), 5, 2, episodes=7, seed=0)
    >>> query.shape, given.shape
    (torch.Size([7, 5]), torch.Size([7, 5, 2]))
    """
    require_positive(ways=ways, shots=shots, episodes=episodes)
    require_seed(seed)
    order, start, size = members(group)
    enough = size > shots
    needs = (
        f"{ways}-way {shots}-shot episodes need {ways} groups of at least {shots + 1} observations"
    )
    if int(enough.sum()) < ways:
        largest = int(size.max()) if len(size) else 0
        raise InputError(
            f"{needs}, but only {int(enough.sum())} of {len(size)} have so many (the largest has "
            f"{largest}): use fewer ways or shots"
        )
    start, size = start[enough], size[enough]
    generator = torch.Generator().manual_seed(seed)
    if within is None:
        way = distinct(torch.full((episodes,), len(size)), ways, generator)
    else:
        of_super_group, first, count = members(within.cpu()[order[start]])
        if int(count.max()) < ways:
            raise InputError(
                f"{needs} in one super-group, but no super-group has more than {int(count.max())}: "
                f"use fewer ways or shots, or episodes over all super-groups"
            )
        first, count = first[count >= ways], count[count >= ways]
        drawn = below(torch.full((episodes,), len(count)), generator)
        place = distinct(count[drawn], ways, generator)
        way = of_super_group[first[drawn].unsqueeze(-1) + place]
    member = order[start[way].unsqueeze(-1) + distinct(size[way], shots + 1, generator)]
    return member[..., 0], member[..., 1:]


def most_ways(
    group: Int64[Tensor, " observations"],
    shots: int,
    within: Int64[Tensor, " observations"] | None = None,
) -> int:
    """The most groups that one of :func:`draw_episodes` could have.

    >>> group = torch.arange(6).repeat_interleave(3)
    >>> most_ways(group, 2), most_ways(group, 3), most_ways(group, 2, within=group // 4)
    (6, 0, 4)
    """
    present, own, size = torch.unique(group, return_inverse=True, return_counts=True)
    enough = size > shots
    if within is None or not enough.any():
        return int(enough.sum())
    super_group = within.new_empty(len(present)).scatter(0, own, within)
    return int(torch.unique(super_group[enough], return_counts=True)[1].max())


def members(group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Observations ordered by group, and where in that order each group starts, and its size."""
    group = group.cpu()
    _, size = torch.unique(group, return_counts=True)
    return torch.argsort(group, stable=True), size.cumsum(0) - size, size


def distinct(count: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """``number`` distinct values in ``0..count - 1``, in random order, for each of ``count``."""
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
