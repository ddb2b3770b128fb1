"""How much of training is feeding: time outside the SVI step, and observations that stay on disk.

Run: python benchmarks/feeding.py mnist ROOT       (ROOT holds MNIST/raw)
     python benchmarks/feeding.py mapped FOLDER    (1,000,000 drawings are made in FOLDER, once)
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from cases import paper_pair
from machine import status_mb
from pyro.infer import SVI
from results import Row, row
from tqdm import tqdm

from pyro_mlvae import GroupedBatch, GroupSampler, ObservationSampler, fit
from pyro_mlvae.data import GroupedDataset, Sampler, ahead_if_spare, load_dataset

GROUPS_PER_BATCH, PER_GROUP = 16, 16


class Marked:
    """Some minibatches of a sampler's, and when each of them was asked for."""

    def __init__(self, sampler: Sampler, steps: int) -> None:
        self.sampler = sampler
        self.steps = steps
        self.marks: list[float] = []

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        """The first of an epoch's minibatches."""
        for batch in islice(self.sampler.epoch(number), self.steps):
            self.marks.append(time.perf_counter())
            yield batch


class Same:
    """One minibatch, again and again: feeding that costs nothing."""

    def __init__(self, batch: GroupedBatch) -> None:
        self.batch = batch

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        """It, without end."""
        while True:
            yield self.batch


def feeding_rows(
    rounds: int, *, count: int = 200_000, steps: int = 30, folder: Path | None = None
) -> list[Row]:
    """A step of ``fit`` on a memory-mapped file, against one on a minibatch in memory.

    A round is a piece of training in each way, for a reader that works ahead needs steps in a row.

    Args:
        rounds: how many pieces.
        count: the number of observations on disk, twenty a group.
        steps: the length of a piece.
        folder: where the file is or will be; by default it is made, and removed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = folder or Path(temporary)
        make_mapped(path, count)
        data = load_dataset(f"npy:{path}")
        pair = paper_pair(event_shape=data.event_shape)
        ways: dict[str, Sampler] = {
            "from disk": ahead_if_spare(_sampler(data)),
            "in memory": Same(next(_sampler(data).epoch(0))),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        fit(*pair, Marked(ways["in memory"], 2), epochs=1)  # what is only done once
        before, grown = status_mb("RssAnon"), 0.0
        for _ in tqdm(range(rounds), desc="feeding", unit="round", leave=False, disable=None):
            for name, sampler in ways.items():
                marked = Marked(sampler, steps)
                fit(*pair, marked, epochs=1)
                found[name].append(1e3 * statistics.median(np.diff(marked.marks)))
                grown = max(grown, (status_mb("RssAnon") or 0.0) - (before or 0.0))
        times = {name: np.array(each)[:, None] for name, each in found.items()}
        part, at = f"feeding, {len(data):,} observations", {"observations": len(data)}
        more = {"RssAnon + MB": grown if before is not None else None}
        return [
            row(part, name, times, "in memory", at=at, more=more if name == "from disk" else {})
            for name in ways
        ]


def _sampler(data: GroupedDataset) -> GroupSampler:
    return GroupSampler(data, GROUPS_PER_BATCH, PER_GROUP)


def make_mapped(path: Path, count: int) -> None:
    """Drawings of 28x28 in groups of about twenty: a pattern for each group, under noise."""
    if (path / "x.npy").exists():
        return
    path.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    group = generator.integers(0, max(1, count // 20), count)
    np.save(path / "group.npy", group)
    x = np.lib.format.open_memmap(path / "x.npy", mode="w+", dtype=np.uint8, shape=(count, 1, 28, 28))
    patterns = generator.integers(0, 256, (1000, 28, 28), dtype=np.uint8)
    for start in range(0, count, 10_000):
        here = slice(start, start + 10_000)
        drawings = patterns[group[here] % 1000] // 4 * 3
        x[here, 0] = drawings + generator.integers(0, 64, drawings.shape, dtype=np.uint8)
    x.flush()


def seconds_in_steps() -> list[float]:
    """From now on, the duration of every SVI step is appended to the list that is returned."""
    steps: list[float] = []
    plain_step = SVI.step

    def timed(self: SVI, *args: object, **kwargs: object) -> object:
        started = time.perf_counter()
        try:
            return plain_step(self, *args, **kwargs)
        finally:
            steps.append(time.perf_counter() - started)

    SVI.step = timed  # type: ignore[method-assign]
    return steps


def mnist(root: str) -> None:
    """One epoch of the paper's network in batches of 256: how much of it is outside the SVI step?"""
    started = time.perf_counter()
    data = load_dataset("mnist", root=root)
    print(f"loaded {len(data):,} observations in {time.perf_counter() - started:.2f} s")
    train, _ = data.split()
    pair = paper_pair(event_shape=data.event_shape)
    fit(*pair, ObservationSampler(train, 256), epochs=1)  # warm up
    steps = seconds_in_steps()
    started = time.perf_counter()
    fit(*pair, ObservationSampler(train, 256), epochs=1)
    total = time.perf_counter() - started
    print(
        f"one epoch, {len(steps)} steps: {total:.2f} s, of which {1 - sum(steps) / total:.1%} "
        f"outside the SVI step"
    )


def mapped(folder: str) -> None:
    """The same minibatches from a memory-mapped file and from memory: memory, and time a step."""
    on_disk, in_memory = feeding_rows(3, count=1_000_000, steps=100, folder=Path(folder))
    resident, grown = status_mb("RssAnon"), on_disk.more["RssAnon + MB"]
    if resident is not None:
        print(f"RssAnon after training on {on_disk.at['observations']:,} observations: {resident:.0f} MB")
        print(f"of which training has added {grown:.0f} MB")
    print(f"{on_disk.ms:.2f} ms a step from disk, {in_memory.ms:.2f} ms from memory: {on_disk.ratio:.2f}x")


if __name__ == "__main__":
    {"mnist": mnist, "mapped": mapped}[sys.argv[1]](sys.argv[2])
