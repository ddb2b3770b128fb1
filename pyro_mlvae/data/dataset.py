"""``GroupedDataset``: grouped observations in memory, with the names of their groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.data.grouping import subsample_groups
from pyro_mlvae.errors import InputError

# What names the group or the label of each observation.
Labels: TypeAlias = Sequence[Hashable] | np.ndarray | Tensor


@dataclass(frozen=True, eq=False)
class GroupedDataset:
    """Observations with the group of each; build one with :meth:`from_arrays`.

    Attributes:
        x: ``[N, *event_shape]``, floating point, finite.
        group: index of each observation's group into ``group_names``, int64 ``[N]``.
        group_names: what the groups are called, in sorted order where they can be sorted.
        label: index of each observation's evaluation label, int64 ``[N]``. Labels are only ever
            used to evaluate; without any of their own, observations are labelled by their group.
        label_names: what the labels are called.

    A part of a data set (:meth:`subset`) keeps all the names, so an index means the same group in
    every part, and a group may have no observation in it.
    """

    x: Tensor
    group: Tensor
    group_names: tuple[Hashable, ...]
    label: Tensor
    label_names: tuple[Hashable, ...]

    @classmethod
    def from_arrays(cls, x: Any, group: Labels, label: Labels | None = None) -> GroupedDataset:
        """A data set from arrays, tensors or sequences.

        Args:
            x: observations, ``[N, *event_shape]``, numbers.
            group: each observation's group, N values of any hashable kind.
            label: each observation's evaluation label, N values of any hashable kind.

        Raises:
            InputError: lengths differ, nothing is there, x is not finite, or a label is missing
                (None or NaN).

        >>> data = GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "ann"])
        >>> data.group_names, data.group
        (('ann', 'bob'), tensor([0, 1, 0]))
        """
        x = _as_observations(x)
        group_index, group_names = _factorise("group", group, len(x))
        if label is None:
            label_index, label_names = group_index, group_names
        else:
            label_index, label_names = _factorise("label", label, len(x))
        # The batch of everything runs the one validation of values: finite x, indices in range.
        GroupedBatch(x, group_index, len(group_names))
        return cls(x, group_index, group_names, label_index, label_names)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def num_groups(self) -> int:
        """The number of group names, of which a part of a data set may use only some."""
        return len(self.group_names)

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one observation."""
        return self.x.shape[1:]

    @property
    def sizes(self) -> Tensor:
        """The number of observations of each group, int64 ``[num_groups]``."""
        return torch.bincount(self.group, minlength=self.num_groups)

    def subset(self, index: Tensor) -> GroupedDataset:
        """The observations at ``index``, under the same names."""
        return replace(self, x=self.x[index], group=self.group[index], label=self.label[index])

    def batch(self, index: Tensor | None = None, group: Tensor | None = None) -> GroupedBatch:
        """The observations at ``index`` (all by default) as a batch.

        Args:
            index: which observations, int64.
            group: another grouping of those same observations; by default their own groups. Only
                the groups that occur are in the batch, in the order of their numbers.
        """
        x = self.x if index is None else self.x[index]
        if group is None:
            group = self.group if index is None else self.group[index]
        present, dense = torch.unique(group, return_inverse=True)
        return GroupedBatch.trusted(x, dense, len(present))

    def split(self, fraction: float = 0.2, *, seed: int = 0) -> tuple[GroupedDataset, GroupedDataset]:
        """Split by observations: the same groups, of each about ``fraction`` of its observations held out.

        Of a group of n observations, ``round(fraction * n)`` are held out but at least one is kept
        for training, so every group is seen and a singleton is never held out.

        Returns:
            The training part and the held-out part.

        Raises:
            InputError: ``fraction`` is not between 0 and 1, or so small that nothing is held out.
        """
        if not 0.0 < fraction < 1.0:
            raise InputError(f"the held-out fraction must lie between 0 and 1, got {fraction}")
        sizes = self.sizes
        held_out = torch.minimum((fraction * sizes).round().long(), sizes - 1).clamp(min=0)
        generator = torch.Generator().manual_seed(seed)
        chosen = subsample_groups(self.group, held_out, generator)
        if not chosen.any():
            raise InputError(
                f"a held-out fraction of {fraction} leaves nothing to hold out of groups of at most "
                f"{int(sizes.max())} observation(s): use a larger fraction"
            )
        return self.subset((~chosen).nonzero().flatten()), self.subset(chosen.nonzero().flatten())


def _as_observations(x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x)
            # Torch takes neither mirrored nor foreign-endian arrays, and must not share read-only ones.
            array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=("C", "W"))
            x = torch.from_numpy(array)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"x must be an array of numbers, [N, *event_shape], but is none ({error})"
            ) from None
    if x.ndim < 2 and x.numel():
        raise InputError(
            f"x must have a dimension for observations and at least one for their values, got shape "
            f"{list(x.shape)}: use x[:, None] for scalar observations"
        )
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _factorise(name: str, labels: Labels, length: int) -> tuple[Tensor, tuple[Hashable, ...]]:
    """Number the distinct labels; sorted where they can be, else in the order of appearance."""
    if isinstance(labels, np.ndarray | Tensor):
        labels = labels.tolist()
    labels = list(labels)
    if len(labels) != length:
        raise InputError(f"{name} must have one entry for each of x, expected {length}, got {len(labels)}")
    for i, value in enumerate(labels):
        if value is None or value != value:
            raise InputError(
                f"{name} must be known for every observation, but is missing ({value}) for "
                f"observation {i}: drop it or name its {name}"
            )
    try:
        distinct = dict.fromkeys(labels)
    except TypeError as error:
        raise InputError(f"{name} must hold hashable values ({error}): use strings or numbers") from None
    try:
        names = tuple(sorted(distinct))  # type: ignore[type-var]
    except TypeError:
        names = tuple(distinct)
    number = {value: i for i, value in enumerate(names)}
    return torch.tensor([number[value] for value in labels], dtype=torch.int64), names
