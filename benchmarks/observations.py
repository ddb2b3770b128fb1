"""Small observations in a file, of which the first so many are read, or mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyro_mlvae.data import GroupedDataset

# Small, so that a million take seconds, and memory that grew with them would be seen all the same.
EVENT_SHAPE = (1, 8, 8)
GROUPS = 100
IN_MEMORY, STREAMED = WAYS = ("in memory", "streamed")


def write_observations(path: Path, count: int) -> None:
    """``count`` drawings of noise, a piece at a time."""
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, count, 100_000):
            shape = (min(100_000, count - start), *EVENT_SHAPE)
            file.write(generator.integers(0, 256, shape, dtype=np.uint8).tobytes())


def grouped_data(path: Path, count: int, way: str) -> GroupedDataset:
    """The first ``count`` of the file, in 100 groups: pixels in memory, or left where they are."""
    x = np.memmap(path, dtype=np.uint8, mode="r", shape=(count, *EVENT_SHAPE))
    return GroupedDataset.from_arrays(x if way == STREAMED else np.array(x), np.arange(count) % GROUPS)
