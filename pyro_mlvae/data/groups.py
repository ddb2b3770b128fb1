"""``Groups``: which observation is in which group, and what the user knows of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pyro_mlvae.errors import InputError


class Fields(Mapping[str, Tensor]):
    """Tensors of the user's own by name; asked for one that is not there, it says where to give it.

    Args:
        name: "of_groups" or "of_observations", for messages.
        tensors: the fields.
    """

    def __init__(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        self.name = name
        self._tensors = dict(tensors)

    def __getitem__(self, key: str) -> Tensor:
        if key not in self._tensors:
            there = ", ".join(map(repr, self._tensors)) or "none"
            raise InputError(
                f"model or guide reads the field {self.name}[{key!r}], but the data has {there}: "
                f"give it to GroupedDataset.from_arrays(..., {self.name}={{{key!r}: ...}})"
            )
        return self._tensors[key]

    # Mapping's own would take the InputError for anything but a missing key.
    def __contains__(self, key: object) -> bool:
        return key in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def map(self, change: Callable[[Tensor], Tensor]) -> Fields:
        """The same names with every tensor changed."""
        return Fields(self.name, {key: change(value) for key, value in self._tensors.items()})


# Of a view: what it is of, a batch or groups alone.
Kind = TypeVar("Kind", bound="Groups")


@dataclass(frozen=True, eq=False)
class Groups:
    """A batch without its observations: which group each is in, and what is known of the groups.

    Attributes:
        group: index of each observation's group, int64 ``[N]``, values in ``0..num_groups - 1``.
        num_groups: the number of groups; each holds at least one observation.
        parent: index of each group's super-group, int64 ``[num_groups]``, or None.
        num_parents: the number of super-groups; 0 without ``parent``.
        group_id: which group of the data set each is, int64 ``[num_groups]``, the same in every
            minibatch; -1 for groups that mix several.
        of_groups: the user's own tensors by name, each ``[num_groups, ...]``: covariates, say.
        of_observations: likewise, each ``[N, ...]``: masks, say.

    >>> groups = Groups(torch.tensor([0, 1, 1]), num_groups=2)
    >>> len(groups), groups.sizes, groups.group_id
    (3, tensor([1, 2]), tensor([0, 1]))
    """

    group: Tensor
    num_groups: int
    parent: Tensor | None = None
    num_parents: int = 0
    group_id: Tensor | None = None
    of_groups: Mapping[str, Tensor] = field(default_factory=dict)
    of_observations: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.group_id is None:
            self.__dict__["group_id"] = torch.arange(self.num_groups, device=self.group.device)
        for name in ("of_groups", "of_observations"):
            own = getattr(self, name)
            self.__dict__[name] = own if isinstance(own, Fields) else Fields(name, own)

    def __len__(self) -> int:
        return len(self.group)

    @property
    def sizes(self) -> Tensor:
        """The number of observations in each group, int64 ``[num_groups]``."""
        one = torch.ones_like(self.group)
        return one.new_zeros(self.num_groups).index_add(0, self.group, one)

    def super_groups(self) -> Tensor:
        """``parent``, for models that need it.

        Raises:
            InputError: the super-groups are not known.
        """
        if self.parent is None:
            raise InputError(
                "a model of three levels needs the super-group of each group (parent), got groups "
                "without: take data that has super-groups, such as omniglot, folder:PATH with a "
                "folder for each, or GroupedDataset.from_arrays(..., parent=...), or a model of "
                "two levels"
            )
        return self.parent

    def to(
        self: Kind, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Kind:
        """The same on ``device``, with everything that is floating point in ``dtype``."""

        def moved(tensor: Tensor) -> Tensor:
            own = dtype if tensor.is_floating_point() else None
            return tensor.to(device=device, dtype=own, non_blocking=True)

        return self._map(moved)

    def pinned(self: Kind) -> Kind:
        """The same in memory from which a GPU fetches without making the program wait."""
        return self._map(Tensor.pin_memory)

    def members(self: Kind, index: Tensor) -> Kind:
        """The observations at ``index``, in the groups and super-groups that occur among them.

        >>> from pyro_mlvae import GroupedBatch
        >>> batch = GroupedBatch(torch.zeros(3, 1), torch.tensor([0, 1, 1]), num_groups=2)
        >>> part = batch.members(torch.tensor([1, 2]))
        >>> part.group, part.group_id
        (tensor([0, 0]), tensor([1]))
        """
        present, group = torch.unique(self.group[index], return_inverse=True)
        parent, num_parents = self.parent, 0
        if parent is not None:
            parents, parent = torch.unique(parent[present], return_inverse=True)
            num_parents = len(parents)
        return self._with(group, len(present), parent, num_parents, index, present)

    def singletons(self: Kind) -> Kind:
        """The same observations, each a group of its own, with all that is known of its group."""
        parent = None if self.parent is None else self.parent[self.group]
        own = torch.arange(len(self), device=self.group.device)
        return self._with(own, len(self), parent, self.num_parents, None, self.group)

    def alone(self: Kind) -> Kind:
        """:meth:`singletons`, each in a super-group of its own too: nothing is shared."""
        single = self.singletons()
        if single.parent is None:
            return single
        return replace(single, parent=single.group, num_parents=len(self))

    def regrouped(self: Kind, index: Tensor, group: Tensor) -> Kind:
        """The observations at ``index`` in other groups, in the order of their numbers.

        What is known of a group stays known where all of its observations come from one group here,
        and of a super-group likewise. Otherwise its ``group_id`` is -1, and fields of groups and
        super-groups are dropped.

        >>> groups = Groups(torch.tensor([0, 1, 1]), num_groups=2)
        >>> groups.regrouped(torch.tensor([1, 2]), torch.tensor([7, 9])).group_id
        tensor([1, 1])
        """
        present, dense = torch.unique(group, return_inverse=True)
        own = self.group[index]
        source = torch.empty_like(present)
        source[dense] = own
        mixed = own != source[dense]
        view = self._with(dense, len(present), None, 0, index, source)
        if self.parent is not None and bool((self.parent[own] == self.parent[source[dense]]).all()):
            parents, parent = torch.unique(self.parent[source], return_inverse=True)
            view = view._trusted(parent=parent, num_parents=len(parents))
        if bool(mixed.any()):
            assert view.group_id is not None
            group_id = view.group_id.index_fill(0, dense[mixed], -1)
            view = view._trusted(group_id=group_id, of_groups=Fields("of_groups", {}))
        return view

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name, those of fields as ``of_groups.NAME``."""
        found = {}
        for own in fields(self):
            value = getattr(self, own.name)
            if isinstance(value, Tensor):
                found[own.name] = value
            elif isinstance(value, Fields):
                found |= {f"{own.name}.{key}": tensor for key, tensor in value.items()}
        return found

    def with_tensors(self: Kind, tensors: Mapping[str, Tensor]) -> Kind:
        """The same with other tensors, by the names of :meth:`tensors`; nothing is checked."""
        changes: dict[str, Any] = {
            name: tensor for name, tensor in tensors.items() if "." not in name
        }
        for name in ("of_groups", "of_observations"):
            keys = getattr(self, name)
            changes[name] = Fields(name, {key: tensors[f"{name}.{key}"] for key in keys})
        return self._trusted(**changes)

    def _map(self: Kind, change: Callable[[Tensor], Tensor]) -> Kind:
        return self.with_tensors({name: change(tensor) for name, tensor in self.tensors().items()})

    def _with(
        self: Kind,
        group: Tensor,
        num_groups: int,
        parent: Tensor | None,
        num_parents: int,
        of: Tensor | None,
        groups: Tensor,
    ) -> Kind:
        """Observations ``of`` (all by default) in other groups, each that of ``groups`` here."""

        def chosen(own: Tensor) -> Tensor:
            return own if of is None else own[of]

        assert self.group_id is not None
        return self._trusted(
            group=group,
            num_groups=num_groups,
            parent=parent,
            num_parents=num_parents,
            group_id=self.group_id[groups],
            of_groups=self.of_groups.map(lambda own: own[groups]),  # type: ignore[attr-defined]
            of_observations=self.of_observations.map(chosen),  # type: ignore[attr-defined]
            **({"x": chosen(self.__dict__["x"])} if "x" in self.__dict__ else {}),
        )

    def _trusted(self: Kind, **changes: Any) -> Kind:
        """The same with other parts that are known to be good: nothing is checked."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__ | changes)
        return new
