"""Samplers: which observations make up each minibatch of an epoch.

An epoch is a pure function of the sampler's seed and the epoch's number, so a run that is resumed
at an epoch sees the same minibatches as one that was never interrupted.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.utils.data
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.grouping import subsample_groups
from pyro_mlvae.errors import InputError, require_positive, require_seed

Item = TypeVar("Item")


@runtime_checkable
class Sampler(Protocol):
    """What :func:`pyro_mlvae.fit` trains on: anything that yields the minibatches of an epoch."""

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        """The minibatches of epoch ``number``, counted from 0."""
        ...


class GroupSampler:
    """Minibatches of ``groups_per_batch`` groups; an epoch visits every group once.

    Args:
        data: where observations come from.
        groups_per_batch: groups in a minibatch; the last one of an epoch may have fewer.
        observations_per_group: how many observations, chosen anew in every epoch, stand for a
            group. A group with no more than that, or every group by default, takes part whole.
        seed: of the order of groups and the choice of observations.

    A group that is represented by m of its n observations is treated as a smaller group, as in the
    paper: that is biased for the whole group's ELBO, the less so the larger m.

    >>> data = GroupedDataset.from_arrays(torch.arange(6.0)[:, None], list("aaabbc"))
    >>> [batch.sizes.tolist() for batch in GroupSampler(data, 2, 2, seed=1).epoch(0)]
    [[2, 1], [2]]
    """

    def __init__(
        self,
        data: GroupedDataset,
        groups_per_batch: int,
        observations_per_group: int | None = None,
        *,
        seed: int = 0,
    ) -> None:
        require_seed(seed)
        require_positive(groups_per_batch=groups_per_batch)
        if observations_per_group is not None:
            require_positive(observations_per_group=observations_per_group)
        self.data = data
        self.groups_per_batch = groups_per_batch
        self.observations_per_group = observations_per_group
        self.seed = seed
        self._present = data.sizes.nonzero().flatten()

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        return (self.data.batch(index) for index in self.indices(number))

    def indices(self, number: int) -> Iterator[Tensor]:
        """The observations of each minibatch, by their places in the data."""
        generator = epoch_generator(self.seed, number)
        present, group = self._present, self.data.group
        place = torch.empty(self.data.num_groups, dtype=torch.int64)
        place[present] = torch.randperm(len(present), generator=generator)
        index = torch.arange(len(group))
        if self.observations_per_group is not None:
            index = index[subsample_groups(group, self.observations_per_group, generator)]
        index = index[torch.argsort(place[group[index]], stable=True)]
        _, batch_sizes = torch.unique_consecutive(
            place[group[index]] // self.groups_per_batch, return_counts=True
        )
        yield from index.split(batch_sizes.tolist())


class ObservationSampler:
    """Minibatches of random observations, grouped inside the batch; an epoch visits each once.

    The regime of the paper's authors: groups take part with as many observations as chance brings
    into the minibatch, so large groups take part in more minibatches, and with more observations,
    than small ones.

    Args:
        data: where observations come from.
        observations_per_batch: observations in a minibatch; the last one of an epoch may have
            fewer.
        seed: of the order of observations.

    >>> data = GroupedDataset.from_arrays(torch.arange(6.0)[:, None], list("aaabbc"))
    >>> [len(batch) for batch in ObservationSampler(data, 4).epoch(0)]
    [4, 2]
    """

    def __init__(self, data: GroupedDataset, observations_per_batch: int, *, seed: int = 0) -> None:
        require_seed(seed)
        require_positive(observations_per_batch=observations_per_batch)
        self.data = data
        self.observations_per_batch = observations_per_batch
        self.seed = seed

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        return (self.data.batch(index) for index in self.indices(number))

    def indices(self, number: int) -> Iterator[Tensor]:
        """The observations of each minibatch, by their places in the data."""
        order = torch.randperm(len(self.data), generator=epoch_generator(self.seed, number))
        yield from order.split(self.observations_per_batch)


class ReadAhead:
    """Another sampler's minibatches, formed in a thread ahead of the step: for data on disk.

    Args:
        sampler: the sampler.
        depth: how many minibatches may be ready at once.

    >>> data = GroupedDataset.from_arrays(torch.arange(6.0)[:, None], list("aaabbc"))
    >>> [len(batch) for batch in ReadAhead(ObservationSampler(data, 4)).epoch(0)]
    [4, 2]
    """

    def __init__(self, sampler: Sampler, depth: int = 4) -> None:
        require_positive(depth=depth)
        self.sampler = sampler
        self.depth = depth

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        return read_ahead(self.sampler.epoch(number), self.depth)


@dataclass(frozen=True)
class Singletons:
    """Another sampler's minibatches, each observation of them a group of its own."""

    sampler: Sampler

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        return (batch.singletons() for batch in self.sampler.epoch(number))


def read_ahead(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """The same items, made in a thread ahead of their use, ``depth`` at the most."""
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, items, None) for _ in range(depth))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, items, None))
            yield item
        for future in waiting:
            future.cancel()


def ahead_if_spare(sampler: Sampler) -> Sampler:
    """The sampler reading ahead, where something is left to read with while a step computes.

    That is a core beyond those that torch computes on, or a GPU to compute on instead. Where every
    core takes part in the step, a reader delays it by more than it saves: 27 ms a step instead of
    21 with a million drawings on a disk and two cores.
    """
    spare = torch.cuda.is_available() or torch.get_num_threads() < (os.cpu_count() or 1)
    return ReadAhead(sampler) if spare else sampler


def epoch_generator(seed: int, number: int) -> torch.Generator:
    """The source of randomness of one epoch: neighbouring seeds and epochs share nothing."""
    return torch.Generator().manual_seed(mixed_seed(seed, number))


def mixed_seed(*numbers: int) -> int:
    """One 64-bit seed out of several numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class BatchIndices(torch.utils.data.Sampler[list[int]]):
    """What ``torch.utils.data.DataLoader`` takes as ``batch_sampler``: the indices of whole groups.

    Each pass over it is the sampler's next epoch, from 0; :meth:`set_epoch` chooses another, as for
    PyTorch's ``DistributedSampler``.

    Args:
        sampler: which observations go into each minibatch: a ``GroupSampler`` or an
            ``ObservationSampler``. Its data has the order of the data set that is loaded, as that
            of ``from_torchvision(dataset, groups, lazy=True)`` has.

    Raises:
        InputError: the sampler gives no indices.

    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> from pyro_mlvae import GroupedBatch, GroupedDataset, GroupSampler
    >>> x, people = torch.rand(5, 8), torch.tensor([0, 0, 1, 1, 2])
    >>> sampler = GroupSampler(GroupedDataset.from_arrays(x, people), groups_per_batch=2)
    >>> loader = DataLoader(TensorDataset(x, people), batch_sampler=BatchIndices(sampler))
    >>> for rows, person in loader:
    ...     present, group = person.unique(return_inverse=True)
    ...     batch = GroupedBatch(rows, group, num_groups=len(present))
    >>> len(loader)
    2
    """

    def __init__(self, sampler: Sampler) -> None:
        indices = getattr(sampler, "indices", None)
        if indices is None:
            raise InputError(
                f"sampler must give indices, as GroupSampler and ObservationSampler do, got a "
                f"{type(sampler).__name__}: take one of them"
            )
        self._indices: Callable[[int], Iterator[Tensor]] = indices
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Let the next pass be that epoch, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        for index in self._indices(epoch):
            yield index.tolist()

    def __len__(self) -> int:
        """The number of minibatches of an epoch."""
        return sum(1 for _ in self._indices(self.epoch))
