"""The processes that train together, and the share of every minibatch that each of them takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import ReadAhead, Sampler, read_ahead
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.programs import OneModule, Program
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.training.objective import Objective
from pyro_mlvae.training.parts import units_of
from pyro_mlvae.training.wrapped import Wrapped

Value = TypeVar("Value")
Share = tuple[GroupedBatch] | tuple[GroupedBatch, float]
# Between two of them, the processes of a job need not wait for the word of the first.
_STEPS_TO_AGREE = 50


class Ranks:
    """The processes that train together, this one among them.

    Args:
        process_group: theirs, as ``torch.distributed`` has it; None where this one trains alone.
    """

    def __init__(self, process_group: dist.ProcessGroup | None = None) -> None:
        self.group = process_group
        alone = process_group is None
        self.rank = 0 if alone else dist.get_rank(process_group)
        self.size = 1 if alone else dist.get_world_size(process_group)
        self._started = False

    def shares(
        self, sampler: Sampler, epoch: int, *, super_groups: bool = False
    ) -> Iterator[Share]:
        """What this process computes on, minibatch by minibatch: as many for each process.

        All go through the same minibatches, which follow from the sampler's seed; of a sampler with
        ``indices`` each reads its own observations only. ``super_groups``: whether groups of one
        super-group have to stay together.

        Returns:
            What ``svi.step`` takes: a batch, and with several processes the weight of its groups in
            the minibatch's mean, times the number of processes, over which gradients are averaged.
            The weight is 0 where a process without a group of its own computes on one of another's,
            so that all of them take part in every step.
        """
        if self.size == 1:
            return ((batch,) for batch in sampler.epoch(epoch))
        if isinstance(sampler, ReadAhead):
            return read_ahead(
                self.shares(sampler.sampler, epoch, super_groups=super_groups), sampler.depth
            )
        return self._own(sampler, epoch, super_groups)

    def _own(self, sampler: Any, epoch: int, super_groups: bool) -> Iterator[Share]:
        if hasattr(sampler, "indices"):
            data = sampler.data
            for index in sampler.indices(epoch):
                group = data.group[index]
                own, counts = self._mine(units_of(group, data.parent if super_groups else None))
                yield self._weighed(data.batch(index[own]), len(group.unique()), counts)
        else:
            for batch in sampler.epoch(epoch):
                own, counts = self._mine(
                    units_of(batch.group, batch.parent if super_groups else None)
                )
                yield self._weighed(batch.members(own), batch.num_groups, counts)

    def _weighed(self, batch: GroupedBatch, groups: int, counts: bool) -> Share:
        return batch, counts * batch.num_groups * self.size / groups

    def _mine(self, unit: Tensor) -> tuple[Tensor, bool]:
        """Which observations this process computes on, and whether they are its own."""
        _, dense, sizes = torch.unique(unit, return_inverse=True, return_counts=True)
        if not self._started and len(sizes) < self.size:
            # The last minibatch of an epoch may well have fewer; the first says what they are like.
            raise InputError(
                f"a minibatch has {len(sizes)} group(s), fewer than the {self.size} processes: "
                f"start at most {len(sizes)}, or put more groups into a minibatch"
            )
        self._started = True
        # From the largest to the smallest, to and fro: nearly as many observations for each.
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
        dist.all_gather_object(every, (objective, terms), group=self.group)
        return sum(own for own, _ in every), sum((own for _, own in every), ElboTerms())

    def agree(self, answer: bool, step: int) -> bool:
        """What the first process says, for all of them; several hear it every so many steps."""
        if self.size == 1:
            return answer
        if step % _STEPS_TO_AGREE:
            return False
        return self.of_first(answer)

    def of_first(self, value: Value) -> Value:
        """The first process's value, for all of them: two GPUs may differ in a last digit."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, group=self.group, group_src=0)
        return said[0]


class Averaged(Wrapped):
    """An objective whose gradients are averaged over processes."""

    def __init__(self, objective: Objective, model: Program, guide: Program, ranks: Ranks) -> None:
        if not hasattr(objective.estimator, "differentiable_loss"):
            raise InputError(
                f"several processes need an estimator with a differentiable_loss, which "
                f"{type(objective.estimator).__name__} has not: use another, such as 'trace'"
            )
        super().__init__(objective)
        # Buffers hold constants: nothing is sent for them. The option was renamed in PyTorch 2.14.
        parallel = nn.parallel.DistributedDataParallel
        known = inspect.signature(parallel).parameters
        option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {option: False}
        self._parallel = parallel(
            _Loss(objective, model, guide), process_group=ranks.group, **options
        )

    def loss_and_grads(
        self,
        model: Program,
        guide: Program,
        batch: GroupedBatch,
        weight: float = 1.0,
        *,
        synchronise: bool = True,
    ) -> float:
        """This process's part of the objective; leaves the gradient of all of it."""
        with torch.enable_grad(), nullcontext() if synchronise else self._parallel.no_sync():
            loss = self._parallel(model, guide, batch, weight)
            loss.backward()
        self.steps += 1
        self._take_terms()
        if not weight:
            self.terms = ElboTerms()  # they are another process's
        return float(loss.detach())


class _Loss(OneModule):
    """The loss as a module, which is what ``DistributedDataParallel`` averages gradients of."""

    def __init__(self, objective: Objective, *programs: Program) -> None:
        super().__init__(*programs)
        self._objective = objective

    def forward(self, model: Program, guide: Program, batch: GroupedBatch, weight: float) -> Tensor:
        return self._objective.differentiable_loss(model, guide, batch, weight)
