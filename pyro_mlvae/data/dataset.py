"""``GroupedDataset``: grouped observations in memory or on disk, with names of groups."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.cells import from_anndata
from pyro_mlvae.data.fields import field_of_groups, field_of_observations
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.data.labels import Labels, factorise, factorise_parents
from pyro_mlvae.data.mapped import Rows
from pyro_mlvae.data.observations import as_observations
from pyro_mlvae.data.splits import Split
from pyro_mlvae.data.tables import from_dataframe
from pyro_mlvae.errors import InputError


@dataclass(frozen=True, eq=False)
class GroupedDataset:
    """Observations with the group of each; build one with :meth:`from_arrays`.

    Attributes:
        x: the observations as they are kept, ``[N, *event_shape]``: floating point, or uint8
            pixels, in a tensor or read when asked for. :meth:`observations` gives them as numbers
            to compute with.
        group: index of each observation's group into ``group_names``, int64 ``[N]``.
        group_names: what the groups are called, in sorted order where they can be sorted.
        label: index of each observation's evaluation label, int64 ``[N]``. Labels are only ever
            used to evaluate; without any of their own, observations are labelled by their group.
        label_names: what the labels are called.
        parent: index of each group's super-group into ``parent_names``, int64 ``[num_groups]``.
        parent_names: what the super-groups are called; empty without any.
        held_out: which observations the data's authors hold out, bool ``[N]``, or None.
        of_groups: fields of groups by name, each ``[num_groups, ...]``.
        of_observations: fields of observations by name, each ``[N, ...]``.
        feature_names: the columns of a table that x holds, in its order; empty for other data.
        ink: whether x are pictures of ink on paper, 0 the paper: figures draw them dark on light.

    A part of a data set (:meth:`subset`) keeps all the names, so an index means the same group in
    every part, and a group may have no observation in it.
    """

    x: Tensor | Rows
    group: Tensor
    group_names: tuple[Hashable, ...]
    label: Tensor
    label_names: tuple[Hashable, ...]
    parent: Tensor | None = None
    parent_names: tuple[Hashable, ...] = ()
    held_out: Tensor | None = None
    of_groups: Mapping[str, Tensor] = field(default_factory=dict)
    of_observations: Mapping[str, Tensor] = field(default_factory=dict)
    feature_names: tuple[str, ...] = ()
    ink: bool = False

    from_dataframe = classmethod(from_dataframe)
    from_anndata = classmethod(from_anndata)

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        group: Labels,
        label: Labels | None = None,
        *,
        parent: Mapping[Any, Hashable] | None = None,
        held_out: Any = None,
        of_groups: Mapping[str, Any] | None = None,
        of_observations: Mapping[str, Any] | None = None,
        missing: str = "refuse",
    ) -> GroupedDataset:
        """A data set from arrays, tensors or sequences.

        Args:
            x: observations, ``[N, *event_shape]``, numbers. uint8 is kept as it is and taken for
                pixels, which :meth:`observations` scales to [0, 1]; a memory-mapped array stays
                one.
            group: each observation's group, N values of any hashable kind.
            label: each observation's evaluation label, N values of any hashable kind.
            parent: the super-group of each group, by name.
            held_out: which observations the data's authors hold out for tests, N booleans.
            of_groups: covariates and the like by name, which reach model and guide in every batch:
                of each group, a mapping from its name, or N values, equal in each group.
            of_observations: masks and the like by name, N values each.
            missing: "refuse" NaN in x, or "mask": NaN marks a missing value.

        Raises:
            InputError: lengths differ, nothing is there, x is not finite, a label is missing (None
                or NaN), a group has no super-group, or a field does not fit.

        >>> data = GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "ann"])
        >>> data.group_names, data.group
        (('ann', 'bob'), tensor([0, 1, 0]))
        """
        x = as_observations(x, missing)
        groups = factorise("group", group, len(x))
        labels = groups if label is None else factorise("label", label, len(x))
        parents: tuple[Tensor | None, tuple[Hashable, ...]] = (None, ())
        if parent is not None:
            parents = factorise_parents(parent, groups[1])
        if held_out is not None:
            held_out = torch.as_tensor(held_out, dtype=torch.bool)
            if held_out.shape != (len(x),):
                raise InputError(
                    f"held_out must have one entry for each of x, expected {len(x)}, got "
                    f"{len(held_out)}"
                )
        return cls(
            x,
            *groups,
            *labels,
            *parents,
            held_out,
            {key: field_of_groups(key, value, *groups) for key, value in (of_groups or {}).items()},
            {
                key: field_of_observations(key, value, len(x))
                for key, value in (of_observations or {}).items()
            },
        )

    def __len__(self) -> int:
        return len(self.group)

    @property
    def num_groups(self) -> int:
        """The number of group names, of which a part of a data set may use only some."""
        return len(self.group_names)

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one observation."""
        return torch.Size(self.x.shape[1:])

    @property
    def sizes(self) -> Tensor:
        """The number of observations of each group, int64 ``[num_groups]``."""
        return torch.bincount(self.group, minlength=self.num_groups)

    @property
    def on_disk(self) -> bool:
        """Whether observations are read, from a file or a data set, whenever they are asked for."""
        return isinstance(self.x, Rows)

    def observations(self, index: Tensor | slice = slice(None)) -> Tensor:
        """The observations at ``index`` (all by default), floating point; pixels are in [0, 1]."""
        if isinstance(self.x, Rows):
            x = self.x.read(index)
        else:
            x = self.x[index.to(self.x.device) if isinstance(index, Tensor) else index]
        return x.to(torch.get_default_dtype()).div_(255.0) if x.dtype == torch.uint8 else x

    def to(self, device: torch.device | str) -> GroupedDataset:
        """The same data with its observations on ``device``; what is on disk stays there."""
        return self if isinstance(self.x, Rows) else replace(self, x=self.x.to(device))

    def subset(self, index: Tensor) -> GroupedDataset:
        """The observations at ``index``, under the same names."""
        return replace(
            self,
            x=self.x.subset(index) if isinstance(self.x, Rows) else self.x[index.to(self.x.device)],
            group=self.group[index],
            label=self.label[index],
            held_out=None if self.held_out is None else self.held_out[index],
            of_observations={name: value[index] for name, value in self.of_observations.items()},
        )

    def sample(self, most: int, *, seed: int = 0) -> GroupedDataset:
        """At most ``most`` of the observations, chosen at random; all if there are no more."""
        if len(self) <= most:
            return self
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.subset(order[:most].sort().values)

    def batch(self, index: Tensor | None = None, group: Tensor | None = None) -> GroupedBatch:
        """The observations at ``index`` (all by default) as a batch, where the data is.

        Args:
            index: which observations, int64.
            group: another grouping of those same observations; by default their own groups. Only
                the groups that occur are in the batch, in the order of their numbers. Super-groups
                are in it unless another grouping mixes them.
        """
        x = self.observations(slice(None) if index is None else index)
        groups = self.groups(index, group).to(x.device)
        return GroupedBatch.trusted(x, **vars(groups))

    def groups(self, index: Tensor | None = None, group: Tensor | None = None) -> Groups:
        """:meth:`batch` without its observations."""
        if index is None:
            index = torch.arange(len(self))
        whole = Groups(
            self.group,
            self.num_groups,
            self.parent,
            len(self.parent_names),
            of_groups=self.of_groups,
            of_observations=self.of_observations,
        )
        if group is None:
            return whole.members(index)
        return whole.regrouped(index, group)

    def split(
        self, fraction: float = 0.2, *, seed: int = 0
    ) -> tuple[GroupedDataset, GroupedDataset]:
        """Split by observations: of every group about ``fraction`` of its observations is held out.

        Of a group of n observations, ``round(fraction * n)`` are held out but at least one is kept
        for training, so every group is seen and a singleton is never held out. Data whose authors
        hold out observations of their own (``held_out``) is split as they do, whatever
        ``fraction``.

        Returns:
            The training part and the held-out part.

        Raises:
            InputError: ``fraction`` is not between 0 and 1, or so small that nothing is held out.
        """
        train, _, test = Split.by_observations(self, fraction, seed).of(self)
        return train, test

    def split_groups(
        self, hold_out: Sequence[str] | float, *, seed: int = 0
    ) -> tuple[GroupedDataset, GroupedDataset]:
        """Split by groups: training sees no observation of those that are held out.

        Args:
            hold_out: names of groups or super-groups, as text; or a fraction, chosen at random.
            seed: of that choice.

        Returns:
            The training part and the held-out part.

        Raises:
            InputError: a name is unknown, the fraction is not between 0 and 1, or one of the parts
                would be empty.

        >>> data = GroupedDataset.from_arrays([[0.0], [0.5], [1.0]], ["ann", "bob", "ann"])
        >>> train, test = data.split_groups(["bob"])
        >>> len(train), len(test)
        (2, 1)
        """
        train, _, test = Split.by_groups(self, hold_out, seed).of(self)
        return train, test
