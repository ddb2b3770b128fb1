"""``GroupedBatch``: the observations of some groups, the one value that travels through everything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_mlvae.errors import InputError


@dataclass(frozen=True, eq=False)
class GroupedBatch:
    """Observations of some groups: ragged, flat, never padded.

    Attributes:
        x: the observations, ``[N, *event_shape]``, floating point, finite.
        group: index of each observation's group, int64 ``[N]``, values in ``0..num_groups - 1``.
        num_groups: the number of groups; each holds at least one observation.
        parent: index of each group's super-group, int64 ``[num_groups]``, or None.
        num_parents: the number of super-groups; 0 without ``parent``.

    It is validated once, here, where data enters; :meth:`trusted` builds one from parts that are
    already known to be good, so that the training loop never pays for (or, on a GPU, waits for)
    the checks.

    Raises:
        InputError: an argument is not as said above; the sentence says which, and what came.

    >>> batch = GroupedBatch(torch.zeros(3, 8, 8), torch.tensor([0, 1, 1]), num_groups=2)
    >>> len(batch), batch.event_shape, batch.sizes
    (3, torch.Size([8, 8]), tensor([1, 2]))
    """

    x: Tensor
    group: Tensor
    num_groups: int
    parent: Tensor | None = None
    num_parents: int = 0

    def __post_init__(self) -> None:
        check_observations(self.x)
        _check_index("group", self.group, len(self.x), "x", self.num_groups, "num_groups")
        if self.parent is not None:
            _check_index(
                "parent", self.parent, self.num_groups, "num_groups", self.num_parents, "num_parents"
            )
        elif not isinstance(self.num_parents, int) or self.num_parents:
            came = " ".join(str(self.num_parents).split())
            raise InputError(f"num_parents is {came} but parent is None: pass parent")

    @classmethod
    def trusted(
        cls, x: Tensor, group: Tensor, num_groups: int, parent: Tensor | None = None, num_parents: int = 0
    ) -> GroupedBatch:
        """A batch from parts that are known to be good: nothing is checked or waited for."""
        batch = object.__new__(cls)
        batch.__dict__.update(
            x=x, group=group, num_groups=num_groups, parent=parent, num_parents=num_parents
        )
        return batch

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one observation."""
        return self.x.shape[1:]

    @property
    def sizes(self) -> Tensor:
        """The number of observations in each group, int64 ``[num_groups]``."""
        return torch.bincount(self.group, minlength=self.num_groups)

    def super_groups(self) -> Tensor:
        """``parent``, for models that need it.

        Raises:
            InputError: the super-groups are not known.
        """
        if self.parent is None:
            raise InputError(
                "a model of three levels needs the super-group of each group (parent), got groups without: "
                "take data that has super-groups, such as omniglot, folder:PATH with a folder for each, or "
                "GroupedDataset.from_arrays(..., parent=...), or a model of two levels"
            )
        return self.parent

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> GroupedBatch:
        """The same batch with every tensor on ``device`` and ``x`` in ``dtype``."""
        return GroupedBatch.trusted(
            self.x.to(device=device, dtype=dtype, non_blocking=True),
            self.group.to(device=device, non_blocking=True),
            self.num_groups,
            None if self.parent is None else self.parent.to(device=device, non_blocking=True),
            self.num_parents,
        )

    def members(self, index: Tensor) -> GroupedBatch:
        """The observations at ``index``, in the groups that occur among them; super-groups as well.

        >>> batch = GroupedBatch(torch.zeros(3, 1), torch.tensor([0, 1, 1]), num_groups=2)
        >>> batch.members(torch.tensor([1, 2])).group
        tensor([0, 0])
        """
        present, group = torch.unique(self.group[index], return_inverse=True)
        if self.parent is None:
            return GroupedBatch.trusted(self.x[index], group, len(present))
        parents, parent = torch.unique(self.parent[present], return_inverse=True)
        return GroupedBatch.trusted(self.x[index], group, len(present), parent, len(parents))

    def pinned(self) -> GroupedBatch:
        """The same batch in memory from which a GPU fetches without making the program wait."""
        return GroupedBatch.trusted(
            self.x.pin_memory(),
            self.group.pin_memory(),
            self.num_groups,
            None if self.parent is None else self.parent.pin_memory(),
            self.num_parents,
        )

    def singletons(self) -> GroupedBatch:
        """The same observations, each as a group of its own; super-groups are dropped."""
        n = len(self)
        return GroupedBatch.trusted(self.x, torch.arange(n, device=self.group.device), n)


def check_observations(x: Tensor) -> None:
    """Raise :class:`InputError` unless ``x`` is ``[N, *event_shape]``, floating point and finite."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        came = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"x must be a floating-point tensor [N, *event_shape], got {came}: convert it")
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(
            f"x must hold at least one observation, of at least one value, as [N, *event_shape], got shape "
            f"{list(x.shape)}"
        )
    finite = x.isfinite()
    if not finite.all():
        bad = int((~finite).sum())
        row = int((~finite).flatten(1).any(1).nonzero()[0])
        raise InputError(
            f"x must be finite, got {bad} NaN or infinite value(s), the first in observation {row}: "
            f"remove or impute them"
        )


def _check_index(name: str, index: Tensor, length: int, of: str, count: int, count_name: str) -> None:
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        came = f"{index.dtype} {list(index.shape)}" if isinstance(index, Tensor) else type(index).__name__
        raise InputError(f"{name} must be an int64 tensor of one dimension, got {came}: convert it")
    if len(index) != length:
        raise InputError(
            f"{name} must have one entry for each of {of}, expected {length}, got {len(index)}"
        )
    if isinstance(count, bool) or not isinstance(count, int):
        raise InputError(f"{count_name} must be a whole number, got {type(count).__name__}")
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= count:
        raise InputError(
            f"{name} must lie in 0..{count_name} - 1 = 0..{count - 1}, got values from {low} to {high}"
        )
    # Nothing is allocated by the word of the count.
    present = index.unique()
    if len(present) < count:
        gaps = (present != torch.arange(len(present), device=present.device)).nonzero()
        empty = int(gaps[0]) if len(gaps) else len(present)
        raise InputError(
            f"every value in 0..{count_name} - 1 must occur in {name}, but {empty} does not: number "
            f"the groups that are present from 0 (torch.unique(..., return_inverse=True) does)"
        )
