"""The processes that train together, and the share of every minibatch that each of them takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import ReadAhead, Sampler, read_ahead
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.terms import ElboTerms

# Between two of them, the processes of a job need not wait for the word of the first.
_STEPS_TO_AGREE = 50


@dataclass(frozen=True)
class Share:
    """The groups of a minibatch that one process computes on, at once.

    Attributes:
        batch: those groups, whole.
        groups: how many groups the whole minibatch has.
        counts: False where a process without a group of its own computes on one of another's, so that
            all of them take part in every step; it then adds nothing.
    """

    batch: GroupedBatch
    groups: int
    counts: bool = True

    def to(self, device: torch.device, dtype: torch.dtype | None) -> Share:
        """The same share with its batch on ``device`` and x in ``dtype``."""
        batch = self.batch
        if batch.x.device == device and dtype in (None, batch.x.dtype) and batch.group.device == device:
            return self
        if device.type == "cuda" and batch.x.device.type == "cpu":
            batch = batch.pinned()
        return replace(self, batch=batch.to(device, dtype))


class Ranks:
    """The processes that train together, this one among them.

    Args:
        process_group: theirs, as ``torch.distributed`` has it; None where this one trains alone.

    Attributes:
        rank: the number of this process.
        size: how many there are.
    """

    def __init__(self, process_group: dist.ProcessGroup | None = None) -> None:
        self._group = process_group
        alone = process_group is None
        self.rank = 0 if alone else dist.get_rank(process_group)
        self.size = 1 if alone else dist.get_world_size(process_group)
        self._started = False

    def wrap(self, module: nn.Module) -> nn.Module:
        """``module``, whose gradients are averaged over the processes, where there are several."""
        if self.size == 1:
            return module
        # Buffers hold constants: nothing is sent for them. The option was renamed in PyTorch 2.14.
        parallel = nn.parallel.DistributedDataParallel
        known = inspect.signature(parallel).parameters
        option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {option: False}
        return parallel(module, process_group=self._group, **options)

    def shares(self, sampler: Sampler, epoch: int, *, super_groups: bool = False) -> Iterator[Share]:
        """This process's share of every minibatch of an epoch: as many for each of them.

        All of them go through the same minibatches, which follow from the sampler's seed; of a sampler
        with ``indices`` each reads its own observations only.

        Args:
            sampler: of the minibatches.
            epoch: the epoch's number, from 0.
            super_groups: whether groups of one super-group have to stay together.
        """
        if self.size == 1:
            return (Share(batch, batch.num_groups) for batch in sampler.epoch(epoch))
        if isinstance(sampler, ReadAhead):
            return read_ahead(self.shares(sampler.sampler, epoch, super_groups=super_groups), sampler.depth)
        return self._own(sampler, epoch, super_groups)

    def _own(self, sampler: Any, epoch: int, super_groups: bool) -> Iterator[Share]:
        if hasattr(sampler, "indices"):
            data = sampler.data
            for index in sampler.indices(epoch):
                group = data.group[index]
                own, counts = self._mine(_units(group, data.parent if super_groups else None))
                yield Share(data.batch(index[own]), len(group.unique()), counts)
        else:
            for batch in sampler.epoch(epoch):
                own, counts = self._mine(_units(batch.group, batch.parent if super_groups else None))
                yield Share(batch.members(own), batch.num_groups, counts)

    def _mine(self, unit: Tensor) -> tuple[Tensor, bool]:
        """Which observations this process computes on, and whether they are its own."""
        _, dense, sizes = torch.unique(unit, return_inverse=True, return_counts=True)
        if not self._started and len(sizes) < self.size:
            # The last minibatch of an epoch may well have fewer; the first says what they are like.
            raise InputError(
                f"a minibatch has {len(sizes)} group(s), fewer than the {self.size} processes: start "
                f"at most {len(sizes)}, or put more groups into a minibatch"
            )
        self._started = True
        # Dealt out from the largest to the smallest, to and fro: nearly as many observations for each.
        turn = torch.arange(len(sizes), device=unit.device) % (2 * self.size)
        owner = torch.empty_like(turn)
        owner[sizes.argsort(descending=True, stable=True)] = torch.where(
            turn < self.size, turn, 2 * self.size - 1 - turn
        )
        own = owner == self.rank
        counts = bool(own.any())
        if not counts:
            own[0] = True
        return own[dense].nonzero().flatten(), counts

    def total(self, objective: float, terms: ElboTerms) -> tuple[float, ElboTerms]:
        """Sums over all the processes, of what each has summed over its shares."""
        terms = terms.floats()
        if self.size == 1:
            return objective, terms
        every: list[Any] = [None] * self.size
        dist.all_gather_object(every, (objective, terms), group=self._group)
        return sum(own for own, _ in every), sum((own for _, own in every), ElboTerms())

    def agree(self, answer: bool, step: int) -> bool:
        """What the first process says, for all of them; of several it is heard every so many steps."""
        if self.size == 1:
            return answer
        if step % _STEPS_TO_AGREE:
            return False
        said = [answer]
        dist.broadcast_object_list(said, group=self._group, group_src=0)
        return said[0]


def _units(group: Tensor, parent: Tensor | None) -> Tensor:
    """What of each observation must stay together: its group, or its super-group."""
    return group if parent is None else parent[group]


def in_parts(share: Share, most_observations: int | None, *, super_groups: bool = False) -> list[Share]:
    """A share in parts of whole groups, of at most so many observations each unless one group has more."""
    batch = share.batch
    if most_observations is None or len(batch) <= most_observations:
        return [share]
    _, unit, sizes = torch.unique(
        _units(batch.group, batch.parent if super_groups else None), return_inverse=True, return_counts=True
    )
    part, room, part_of_unit = 0, most_observations, []
    for number, size in enumerate(sizes.tolist()):
        if size > room and number:
            part, room = part + 1, most_observations
        part_of_unit.append(part)
        room -= size
    part_of = torch.tensor(part_of_unit, device=unit.device)[unit]
    chosen = ((part_of == number).nonzero().flatten() for number in range(part + 1))
    return [Share(batch.members(index), share.groups, share.counts) for index in chosen]
