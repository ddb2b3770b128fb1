"""How much of training is feeding: time outside the SVI step, and a million observations on disk.

Run: python benchmarks/feeding.py mnist ROOT       (ROOT holds MNIST/raw)
     python benchmarks/feeding.py mapped FOLDER    (1,000,000 drawings are made in FOLDER, once)
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pyro.infer import SVI

from pyro_mlvae import (
    MLVAE,
    GroupSampler,
    LearnedNormalLikelihood,
    MLPDecoder,
    MLPEncoder,
    ObservationSampler,
    ProductOfNormals,
    fit,
)
from pyro_mlvae.data import Sampler, ahead_if_spare, load_dataset

OBSERVATIONS, GROUPS = 1_000_000, 50_000


def paper_pair(event_shape: torch.Size) -> tuple[MLVAE, ProductOfNormals]:
    """The paper's networks and likelihood."""
    torch.manual_seed(0)
    decoder = MLPDecoder(event_shape, 10, 10, outputs=2)
    return MLVAE(decoder, LearnedNormalLikelihood(), 10, 10), ProductOfNormals(
        MLPEncoder(event_shape, 10, 10)
    )


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
    pair = paper_pair(data.event_shape)
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
    path = Path(folder)
    make_mapped(path)
    data = load_dataset(f"npy:{path}")
    pair = paper_pair(data.event_shape)
    steps = 300

    def run(sampler: Sampler) -> float:
        class Some:
            def epoch(self, number: int):
                for _, batch in zip(range(steps), sampler.epoch(number), strict=False):
                    marks.append(time.perf_counter())
                    yield batch

        marks: list[float] = []
        fit(*pair, Some(), epochs=1)
        return statistics.median(np.diff(marks)) * 1e3

    on_disk = run(ahead_if_spare(GroupSampler(data, 16, 16)))
    resident = rss_anon_mb()
    first = next(GroupSampler(data, 16, 16).epoch(0))

    class Same:
        def epoch(self, number: int):
            while True:
                yield first

    in_memory = run(Same())  # type: ignore[arg-type]
    print(f"RssAnon while training on {len(data):,} observations on disk: {resident:.0f} MB")
    print(f"{on_disk:.2f} ms a step from disk, {in_memory:.2f} ms from memory: {on_disk / in_memory:.2f}x")


def make_mapped(path: Path) -> None:
    """1,000,000 drawings of 28x28 in 50,000 groups: a pattern for each group, under noise."""
    if (path / "x.npy").exists():
        return
    path.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    group = generator.integers(0, GROUPS, OBSERVATIONS)
    np.save(path / "group.npy", group)
    shape = (OBSERVATIONS, 1, 28, 28)
    x = np.lib.format.open_memmap(path / "x.npy", mode="w+", dtype=np.uint8, shape=shape)
    patterns = generator.integers(0, 256, (1000, 28, 28), dtype=np.uint8)
    for start in range(0, OBSERVATIONS, 10_000):
        here = slice(start, start + 10_000)
        noise = generator.integers(0, 64, (10_000, 28, 28), dtype=np.uint8)
        x[here, 0] = patterns[group[here] % 1000] // 4 * 3 + noise
    x.flush()


def rss_anon_mb() -> float:
    """The anonymous memory of this process that is resident."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    {"mnist": mnist, "mapped": mapped}[sys.argv[1]](sys.argv[2])
