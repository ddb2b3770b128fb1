"""A sampler's minibatches as indices, for PyTorch's own ``DataLoader``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch.utils.data
from torch import Tensor

from pyro_mlvae.data.samplers import Sampler
from pyro_mlvae.errors import InputError


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
