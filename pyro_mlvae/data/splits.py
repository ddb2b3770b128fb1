"""Which observations, or which groups, are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_mlvae.data.grouping import subsample_groups
from pyro_mlvae.data.labels import find_groups
from pyro_mlvae.errors import InputError

if TYPE_CHECKING:
    from pyro_mlvae.data.dataset import GroupedDataset


@dataclass(frozen=True, eq=False)
class Split:
    """What each observation of a data set is for, as positions, int64 and ascending.

    Attributes:
        train: positions of the observations that training sees, ``[T]``.
        validation: of those by which training is judged while it goes on, ``[V]``; may be empty.
        test: of those that only the final measurement sees, ``[M]``.

    An observation may be in none of them.

    >>> from pyro_mlvae.data import GroupedDataset
    >>> data = GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "ann"])
    >>> train, validation, test = Split.by_groups(data, ["bob"]).of(data)
    >>> len(train), len(validation), len(test)
    (2, 0, 1)
    """

    train: Tensor
    validation: Tensor
    test: Tensor

    @classmethod
    def by_observations(cls, data: GroupedDataset, fraction: float, seed: int) -> Split:
        """See :meth:`GroupedDataset.split`."""
        if data.held_out is not None:
            return cls.holding_out(data.held_out)
        return cls.holding_out(of_every_group(data.group, data.sizes, fraction, seed))

    @classmethod
    def by_groups(
        cls, data: GroupedDataset, hold_out: Sequence[str] | float, seed: int = 0
    ) -> Split:
        """See :meth:`GroupedDataset.split_groups`."""
        present = data.sizes > 0
        if isinstance(hold_out, float | int):
            held_out = at_random(present, hold_out, seed)
        else:
            named = find_groups(hold_out, data.group_names, data.parent_names, data.parent)
            held_out = some_of(present, named)
        return cls.holding_out(held_out[data.group])

    @classmethod
    def whole(cls, data: GroupedDataset) -> Split:
        """The split that trains on everything."""
        return cls.holding_out(torch.zeros(len(data), dtype=torch.bool))

    @classmethod
    def holding_out(cls, test: Tensor) -> Split:
        """The split whose test part is a mask, bool ``[N]``; the rest is for training."""
        nothing = torch.empty(0, dtype=torch.int64)
        return cls((~test).nonzero().flatten(), nothing, test.nonzero().flatten())

    def of(self, data: GroupedDataset) -> tuple[GroupedDataset, GroupedDataset, GroupedDataset]:
        """The training, the validation and the test part of the data."""
        return data.subset(self.train), data.subset(self.validation), data.subset(self.test)


def of_every_group(group: Tensor, sizes: Tensor, fraction: float, seed: int) -> Tensor:
    """A fraction of the observations of every group, but never its last one, bool ``[N]``."""
    if not 0.0 < fraction < 1.0:
        raise InputError(f"the held-out fraction must lie between 0 and 1, got {fraction}")
    held_out = torch.minimum((fraction * sizes).round().long(), sizes - 1).clamp(min=0)
    chosen = subsample_groups(group, held_out, torch.Generator().manual_seed(seed))
    if not chosen.any():
        raise InputError(_nothing_held_out(sizes, fraction))
    return chosen


def at_random(present: Tensor, fraction: float, seed: int) -> Tensor:
    """A fraction of the groups that are present, at least one of them, bool ``[groups]``."""
    if not 0.0 < fraction < 1.0:
        raise InputError(
            f"the fraction of groups to hold out must lie between 0 and 1, got {fraction}"
        )
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
        raise InputError(
            "holding out groups takes at least two groups, got data with one: hold out "
            "observations of it, with --test-fraction 0.2, in Python split(0.2)"
        )
    return count


def _nothing_held_out(sizes: Tensor, fraction: float) -> str:
    """What would help where a fraction of every group is less than one observation."""
    largest, groups = int(sizes.max()), int((sizes > 0).sum())
    whole = "hold out whole groups, with --hold-out-fraction 0.2, in Python split_groups(0.2)"
    if largest == 1:
        help_ = whole if groups > 1 else "add observations"
        return f"no group has two observations, so none can be held out of its group: {help_}"
    # The rounding of half an observation goes to the even number, which is none.
    enough = (50 // largest + 1) / 100
    others = f", or {whole}" if groups > 1 else ""
    return (
        f"a held-out fraction of {fraction} leaves nothing to hold out of groups of at most "
        f"{largest} observations: use a fraction of at least {enough}{others}"
    )
