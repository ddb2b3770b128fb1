"""Observations that stay where they are and are read when asked for: the rows of a mapped file."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Rows(ABC):
    """Some of the observations of a source that is read when they are asked for.

    Attributes:
        rows: which of the source's observations these are, int64 ``[N]``.
    """

    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """As if the rows were an array of their own."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the observations as they are kept."""

    @abstractmethod
    def subset(self, index: Tensor) -> Rows:
        """The rows at ``index`` among these."""

    @abstractmethod
    def read(self, index: Tensor | slice) -> Tensor:
        """The rows at ``index`` in memory."""


@dataclass(frozen=True, eq=False)
class MappedRows(Rows):
    """Some rows of a memory-mapped array; choosing among them copies nothing.

    Attributes:
        array: the array as a tensor that shares its memory, ``[M, *event_shape]``.
        rows: which of its rows these are, int64 ``[N]``.

    >>> mapped = MappedRows.share(np.arange(8.0).reshape(4, 2))
    >>> mapped.subset(torch.tensor([3, 0])).read(torch.tensor([0]))
    tensor([[6., 7.]], dtype=torch.float64)
    """

    array: Tensor
    rows: Tensor

    @classmethod
    def share(cls, array: np.ndarray) -> MappedRows:
        """All the rows of ``array``, which stays where it is, and is only ever read."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return cls(torch.from_numpy(array), torch.arange(len(array)))

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.array.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        return self.array.dtype

    def subset(self, index: Tensor) -> MappedRows:
        return MappedRows(self.array, self.rows[index])

    def read(self, index: Tensor | slice) -> Tensor:
        """The rows at ``index`` in memory.

        One call of torch, which holds no lock of Python's while it waits for the disk, so a thread
        that reads ahead does not stop the one that trains.
        """
        return self.array.index_select(0, self.rows[index])


@dataclass(frozen=True, eq=False)
class DividedRows(Rows):
    """Rows of a source as floating-point numbers, divided as they are read.

    Attributes:
        source: the rows as they are kept.
        divisor: what they are divided by.

    >>> pixels = MappedRows.share(np.array([[0], [51]], "u1"))
    >>> DividedRows(pixels, 255.0).read(slice(None))
    tensor([[0.0000],
            [0.2000]])
    """

    source: Rows
    divisor: float

    @property
    def rows(self) -> Tensor:  # type: ignore[override]
        return self.source.rows

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.source.dtype, torch.float32)

    def subset(self, index: Tensor) -> DividedRows:
        return DividedRows(self.source.subset(index), self.divisor)

    def read(self, index: Tensor | slice) -> Tensor:
        return self.source.read(index).to(self.dtype) / self.divisor
