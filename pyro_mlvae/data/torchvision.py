"""Any data set of PyTorch's form as grouped data, read into memory or when asked for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.batch import check_observations
from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.images import pixels_of
from pyro_mlvae.data.labels import Labels
from pyro_mlvae.data.mapped import Rows
from pyro_mlvae.errors import InputError


def from_torchvision(
    dataset: Any,
    group: Callable[[Any], Hashable] | Labels = lambda target: target,
    label: Callable[[Any], Hashable] | Labels | None = None,
    *,
    lazy: bool = False,
) -> GroupedDataset:
    """A ``torch.utils.data.Dataset``, one of torchvision's for example, as grouped data.

    Args:
        dataset: has a length, and gives items by index: ``(observation, target)`` pairs, or, where
            group and label are given as values, also observations alone. Observations are PIL
            images, arrays or tensors. PIL images become uint8 ``[channels, height, width]``, as
            those of ``folder:`` do; all else stays as it is.
        group: from a target to the name of the group, by default the target itself; or the names,
            one for each observation.
        label: likewise, the evaluation label; by default that of the group.
        lazy: leave the observations where they are, and read them whenever a minibatch asks: for
            more than fits into memory. Functions need the target of every item, so each is read
            once to begin with; with names only the first is.

    Raises:
        InputError: there are no items, an item is no pair, the observations differ in shape or
            type, or have floating-point pixels.

    >>> pairs = [(torch.zeros(1, 2, 2), 7), (torch.ones(1, 2, 2), 8)]
    >>> from_torchvision(pairs, group=lambda target: target % 2).group_names
    (0, 1)
    >>> from_torchvision(pairs, group=["ann", "bob"], lazy=True).batch(torch.tensor([1])).x.shape
    torch.Size([1, 1, 2, 2])
    """
    if not len(dataset):
        raise InputError("the data set must have at least one item, got none")
    # The first stands for the form of all.
    first = GroupedDataset.from_arrays(_observation(dataset[0])[None], [0]).x
    assert isinstance(first, Tensor)
    rows = DatasetRows(dataset, torch.arange(len(dataset)), first[0])
    x: list[Tensor] = []
    groups: list[Hashable] = []
    labels: list[Hashable] = []
    if not lazy or callable(group) or callable(label):
        for i in range(len(dataset)):
            item = dataset[i]
            x += [] if lazy else [rows.checked(item, i)]
            groups += [group(_target(item, i))] if callable(group) else []
            labels += [label(_target(item, i))] if callable(label) else []
    group = groups if callable(group) else group
    label = labels if callable(label) else label
    if not lazy:
        return GroupedDataset.from_arrays(torch.stack(x), group, label)
    # Numbers in the place of x, which is not read.
    data = GroupedDataset.from_arrays(torch.zeros(len(dataset), 1), group, label)
    return replace(data, x=rows)


@dataclass(frozen=True, eq=False)
class DatasetRows(Rows):
    """Some items of a data set, read when they are asked for.

    Attributes:
        dataset: gives items by index.
        rows: which of its items these are, int64 ``[N]``.
        first: the first observation, of whose shape and type all have to be.
    """

    dataset: Any
    rows: Tensor
    first: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.first.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.first.dtype

    def subset(self, index: Tensor) -> DatasetRows:
        return replace(self, rows=self.rows[index])

    def read(self, index: Tensor | slice) -> Tensor:
        """The items at ``index`` in memory, each checked as it is read."""
        read = [self.checked(self.dataset[i], i) for i in self.rows[index].tolist()]
        return torch.stack(read) if read else self.first.new_empty(0, *self.first.shape)

    def checked(self, item: Any, i: int) -> Tensor:
        """The observation of item ``i``.

        Raises:
            InputError: it is of another shape or type than the first, or not finite.
        """
        x = _observation(item)
        if x.shape != self.first.shape:
            raise InputError(
                f"all images must have one shape, but item 0 has {list(self.first.shape)} and item "
                f"{i} has {list(x.shape)}: give the data set a transform that resizes them"
            )
        if x.dtype != self.dtype:
            raise InputError(
                f"all images must have one type, but item 0 has {self.dtype} and item {i} has "
                f"{x.dtype}: give the data set a transform that converts them"
            )
        if x.is_floating_point():
            check_observations(x[None])
        return x


def _observation(item: Any) -> Tensor:
    x = item[0] if isinstance(item, tuple | list) else item
    if isinstance(x, Tensor | np.ndarray):
        x = torch.as_tensor(x)
        kept = x.is_floating_point() or x.is_complex() or x.dtype == torch.uint8
        return x if kept else x.to(torch.get_default_dtype())
    try:
        return torch.from_numpy(pixels_of(x).copy())
    except AttributeError:
        raise InputError(
            f"observations must be images, arrays or tensors, got a {type(x).__name__}: give the "
            f"data set a transform that makes them"
        ) from None


def _target(item: Any, i: int) -> Any:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InputError(
            f"items must be pairs of an observation and a target, but item {i} is none: give the "
            f"names of groups and labels, one for each item, in the place of functions"
        )
    return item[1]
