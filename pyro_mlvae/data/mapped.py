"""Observations that stay on disk: rows of a memory-mapped array, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MappedRows:
    """Some rows of a memory-mapped array; choosing among them copies nothing.

    Attributes:
        array: the memory-mapped array, ``[M, *event_shape]``.
        rows: which of its rows these are, int64 ``[N]``.

    >>> mapped = MappedRows(np.arange(8.0).reshape(4, 2), torch.tensor([3, 0]))
    >>> mapped.read(torch.tensor([0])), mapped.shape
    (tensor([[6., 7.]], dtype=torch.float64), (2, 2))
    """

    array: np.ndarray
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """As if the rows were an array of their own."""
        return (len(self.rows), *self.array.shape[1:])

    def subset(self, index: Tensor) -> MappedRows:
        """The rows at ``index`` among these."""
        return MappedRows(self.array, self.rows[index])

    def read(self, index: Tensor | slice) -> Tensor:
        """The rows at ``index`` in memory, in the machine's own byte order."""
        # Read in the order of the file, which is the order in which a disk is fast.
        rows, back = torch.sort(self.rows[index])
        values = self.array[rows.numpy()]
        read = torch.from_numpy(values.astype(values.dtype.newbyteorder("="), copy=False))
        return torch.empty_like(read).index_copy_(0, back, read)

    def chunks(self, size: int = 65536) -> Iterator[Tensor]:
        """All the rows, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.read(slice(start, start + size))
