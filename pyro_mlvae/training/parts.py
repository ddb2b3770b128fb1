"""Minibatches larger than memory: an objective in parts of whole groups, whose gradients add."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.training.wrapped import Wrapped


class InParts(Wrapped):
    """An objective whose batches are computed in parts of whole groups.

    Args:
        objective: an :class:`~pyro_mlvae.Objective`, or one averaged over processes.
        most_observations: a part has at most so many, unless a single group has more.
        super_groups: whether groups of one super-group have to stay together.
    """

    def __init__(
        self, objective: Any, most_observations: int, *, super_groups: bool = False
    ) -> None:
        require_positive(observations_at_once=most_observations)
        super().__init__(objective)
        self._most, self._super_groups = most_observations, super_groups

    def loss_and_grads(
        self, model: Program, guide: Program, batch: GroupedBatch, weight: float = 1.0
    ) -> float:
        """The objective; its gradient is added to the parameters', part by part."""
        total, terms, steps = 0.0, ElboTerms(), self.steps
        parts = in_parts(batch, self._most, super_groups=self._super_groups)
        for number, part in enumerate(parts, start=1):
            self.steps = steps
            own = weight * part.num_groups / batch.num_groups
            waits = {} if number == len(parts) else {"synchronise": False}
            total += self.objective.loss_and_grads(model, guide, part, own, **waits)
            terms = terms + self.objective.terms
        self._take_terms()
        self.terms = terms
        return total


def units_of(group: Tensor, parent: Tensor | None) -> Tensor:
    """What of each observation must stay together: its group, or its super-group."""
    return group if parent is None else parent[group]


def in_parts(
    batch: GroupedBatch, most_observations: int, *, super_groups: bool = False
) -> list[GroupedBatch]:
    """A batch in parts of whole groups, each of at most so many observations, or of one group.

    >>> batch = GroupedBatch(torch.zeros(4, 1), torch.tensor([0, 0, 1, 2]), num_groups=3)
    >>> [len(part) for part in in_parts(batch, 2)]
    [2, 2]
    """
    if len(batch) <= most_observations:
        return [batch]
    _, unit, sizes = torch.unique(
        units_of(batch.group, batch.parent if super_groups else None),
        return_inverse=True,
        return_counts=True,
    )
    part, room, part_of_unit = 0, most_observations, []
    for number, size in enumerate(sizes.tolist()):
        if size > room and number:
            part, room = part + 1, most_observations
        part_of_unit.append(part)
        room -= size
    part_of = torch.tensor(part_of_unit, device=unit.device)[unit]
    return [batch.members((part_of == number).nonzero().flatten()) for number in range(part + 1)]
