"""Which observations, or which groups, are held out."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_mlvae.data.grouping import subsample_groups
from pyro_mlvae.errors import InputError


def of_every_group(group: Tensor, sizes: Tensor, fraction: float, seed: int) -> Tensor:
    """A fraction of the observations of every group, but never its last one, bool ``[N]``."""
    if not 0.0 < fraction < 1.0:
        raise InputError(f"the held-out fraction must lie between 0 and 1, got {fraction}")
    held_out = torch.minimum((fraction * sizes).round().long(), sizes - 1).clamp(min=0)
    chosen = subsample_groups(group, held_out, torch.Generator().manual_seed(seed))
    if not chosen.any():
        raise InputError(
            f"a held-out fraction of {fraction} leaves nothing to hold out of groups of at most "
            f"{int(sizes.max())} observation(s): use a larger fraction"
        )
    return chosen


def at_random(present: Tensor, fraction: float, seed: int) -> Tensor:
    """A fraction of the groups that are present, at least one of them, bool ``[groups]``."""
    if not 0.0 < fraction < 1.0:
        raise InputError(f"the fraction of groups to hold out must lie between 0 and 1, got {fraction}")
    count = _at_least_two(present)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    chosen = present.nonzero().flatten()[order[: min(max(round(fraction * count), 1), count - 1)]]
    return torch.zeros_like(present).index_fill(0, chosen, value=True)


def some_of(present: Tensor, held_out: Tensor) -> Tensor:
    """The groups that are held out and present: some, but not all, bool ``[groups]``."""
    count, held_out = _at_least_two(present), held_out & present
    if int(held_out.sum()) in (0, count):
        raise InputError(
            f"{int(held_out.sum())} of {count} groups would be held out: hold out some, but not all"
        )
    return held_out


def _at_least_two(present: Tensor) -> int:
    count = int(present.sum())
    if count < 2:
        raise InputError("holding out groups takes at least two groups, got data with one")
    return count
