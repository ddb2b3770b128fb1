"""Which groups of new data training saw, by name: they can be probed, the others told apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.labels import name_of

TEST, UNSEEN = "test", "unseen groups"
KNOWN, MIXED = "known groups, new observations", "known and unseen groups"


def in_known_groups(data: GroupedDataset, trained_groups: Collection[str]) -> Tensor:
    """Which observations are in groups that training saw: bool ``[N]``.

    Args:
        data: observations of any groups.
        trained_groups: the names of those that training saw, as text.

    >>> data = GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "ann"])
    >>> in_known_groups(data, {"ann"})
    tensor([ True, False,  True])
    """
    known = set(map(name_of, trained_groups))
    return torch.tensor([name_of(name) in known for name in data.group_names])[data.group]


def labelled_like(data: GroupedDataset, train: GroupedDataset) -> GroupedDataset:
    """The observations of ``data`` whose labels occur in ``train``, labelled by its numbers.

    Args:
        data: observations, of whatever data set.
        train: others; labels are the same where their names are, as text.

    >>> train = GroupedDataset.from_arrays([[0.0], [1.0]], ["ann", "cid"])
    >>> data = GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "cid"])
    >>> labelled_like(data, train).label
    tensor([0, 1])
    """
    number = {name: i for i, name in enumerate(map(name_of, train.label_names))}
    theirs = torch.tensor([number.get(name_of(name), -1) for name in data.label_names])[data.label]
    index = torch.isin(theirs, train.label).nonzero().flatten()
    return replace(data.subset(index), label=theirs[index], label_names=train.label_names)


def split_name(is_known: Tensor, *, other_data: bool) -> str:
    """What metrics.json calls observations of which these are in groups that training saw."""
    if not is_known.any():
        return UNSEEN
    if not is_known.all():
        return MIXED
    return KNOWN if other_data else TEST
