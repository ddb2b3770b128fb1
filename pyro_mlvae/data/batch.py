"""``GroupedBatch``: the observations of some groups, the value that everything takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import InputError


@dataclass(frozen=True, eq=False, init=False)
class GroupedBatch(Groups):
    """Observations of some groups: ragged, flat, never padded.

    Args:
        x: the observations, ``[N, *event_shape]``, floating point, finite.
        group: as for :class:`Groups`, and so are the rest.
        num_groups: the number of groups.
        parent: index of each group's super-group, or None.
        num_parents: the number of super-groups.
        group_id: which group of the data set each is; by default they are numbered.
        of_groups: fields of groups, each ``[num_groups, ...]``.
        of_observations: fields of observations, each ``[N, ...]``.

    It is validated once, here, where data enters; :meth:`trusted` builds one from parts that are
    already known to be good, so that the training loop never pays for (or, on a GPU, waits for)
    the checks. Every view of it carries everything: ``to``, ``members``, ``singletons``,
    ``pinned``.

    Raises:
        InputError: an argument is not as said above; the sentence says which, and what came.

    >>> batch = GroupedBatch(torch.zeros(3, 8, 8), torch.tensor([0, 1, 1]), num_groups=2)
    >>> len(batch), batch.event_shape, batch.sizes
    (3, torch.Size([8, 8]), tensor([1, 2]))
    """

    x: Tensor  # type: ignore[misc]  # __init__ below gives the order of arguments

    def __init__(
        self,
        x: Tensor,
        group: Tensor,
        num_groups: int,
        parent: Tensor | None = None,
        num_parents: int = 0,
        *,
        group_id: Tensor | None = None,
        of_groups: Mapping[str, Tensor] | None = None,
        of_observations: Mapping[str, Tensor] | None = None,
    ) -> None:
        check_observations(x)
        _check_index("group", group, len(x), "x", num_groups, "num_groups")
        if parent is not None:
            _check_index("parent", parent, num_groups, "num_groups", num_parents, "num_parents")
        elif not isinstance(num_parents, int) or num_parents:
            came = " ".join(str(num_parents).split())
            raise InputError(f"num_parents is {came} but parent is None: pass parent")
        self.__dict__["x"] = x
        super().__init__(
            group,
            num_groups,
            parent,
            num_parents,
            group_id,
            of_groups or {},
            of_observations or {},
        )
        self.check_fields()

    @classmethod
    def trusted(
        cls,
        x: Tensor,
        group: Tensor,
        num_groups: int,
        parent: Tensor | None = None,
        num_parents: int = 0,
        **known: Any,
    ) -> GroupedBatch:
        """A batch from parts that are known to be good: nothing is checked or waited for."""
        batch = object.__new__(cls)
        batch.__dict__["x"] = x
        Groups.__init__(batch, group, num_groups, parent, num_parents, **known)
        return batch

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one observation."""
        return self.x.shape[1:]

    @property
    def groups(self) -> Groups:
        """The batch without its observations."""
        groups = object.__new__(Groups)
        groups.__dict__.update({name: own for name, own in vars(self).items() if name != "x"})
        return groups

    def check_fields(self) -> None:
        """Raise :class:`InputError` for a field that is none of its groups or observations."""
        for name, fields_of, length, what in (
            ("of_groups", self.of_groups, self.num_groups, "num_groups"),
            ("of_observations", self.of_observations, len(self), "len(x)"),
            ("group_id", {"": self.group_id}, self.num_groups, "num_groups"),
        ):
            for key, value in fields_of.items():
                label = f"{name}[{key!r}]" if key else name
                came = type(value).__name__
                if isinstance(value, Tensor):
                    came = f"shape {list(value.shape)}"
                if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != length:
                    raise InputError(
                        f"{label} must be a tensor with one entry for each of {what} = {length}, "
                        f"got {came}"
                    )


def check_observations(x: Tensor, *, missing: bool = False) -> None:
    """Raise :class:`InputError` unless ``x`` is ``[N, *event_shape]``, floating point and finite.

    Args:
        x: the observations.
        missing: whether NaN marks a missing value; an observation of nothing else is still refused.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        came = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputError(
            f"x must be a floating-point tensor [N, *event_shape], got {came}: convert it"
        )
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(
            "x must hold at least one observation, of at least one value, as [N, *event_shape], "
            f"got shape {list(x.shape)}"
        )
    finite = ~x.isinf() if missing else x.isfinite()
    if not finite.all():
        bad = int((~finite).sum())
        row = int((~finite).flatten(1).any(1).nonzero()[0])
        what = "infinite value(s)" if missing else "NaN or infinite value(s)"
        mask = ", or take NaN for missing values with missing='mask' (--missing mask)"
        raise InputError(
            f"x must be finite, got {bad} {what}, the first in observation {row}: remove or impute "
            f"them{'' if missing else mask}"
        )
    if missing and (empty := x.isnan().flatten(1).all(1)).any():
        raise InputError(
            f"every observation must have a value, but {int(empty.sum())} have none, the first is "
            f"observation {int(empty.nonzero()[0])}: leave them out"
        )


def _check_index(
    name: str, index: Tensor, length: int, of: str, count: int, count_name: str
) -> None:
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.ndim != 1:
        came: object = type(index).__name__
        if isinstance(index, Tensor):
            came = f"{index.dtype} {list(index.shape)}"
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
            f"{name} must lie in 0..{count_name} - 1 = 0..{count - 1}, got values from {low} to "
            f"{high}"
        )
    # The count may be huge and wrong: nothing of its size is allocated.
    present = index.unique()
    if len(present) < count:
        gaps = (present != torch.arange(len(present), device=present.device)).nonzero()
        empty = int(gaps[0]) if len(gaps) else len(present)
        raise InputError(
            f"every value in 0..{count_name} - 1 must occur in {name}, but {empty} does not: "
            "number the groups that are present from 0 (torch.unique(..., return_inverse=True) "
            "does)"
        )
