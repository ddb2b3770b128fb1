"""How cost grows: a step with its groups, evidence with its observations, in time and in memory.

Observations of the evidence are in memory, or streamed from a memory-mapped file. Both should be
constant: the time of an observation, for the cost is linear, and the growth of memory, from the
size of one piece (4,096) on.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from steps import DIGITS, INSTANCES, even_sizes, grouped, observations, our_step, paper_pair
from timing import interleaved, row

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.latents import gather_evidence

COUNT, GROUPS = 1024, (1, 10, 32, 100, 320, 1024)
ASKED_OF_GROUPS = 1.05
SINGLETONS = 24
# Small observations, so that a million take seconds, and memory that grew with them would be seen.
SIZES = (1_000, 10_000, 100_000, 1_000_000)
IN_MEMORY, STREAMED = "in memory", "streamed"
MMAP_THRESHOLD = -3  # of glibc's mallopt


def scaling_rows(
    rounds: int, *, count: int = COUNT, groups: Sequence[int] = GROUPS, sizes: Sequence[int] = SIZES
) -> list[list[str]]:
    """More groups of the same observations, and evidence over more, as rows of a table."""
    return [*group_rows(rounds, count, groups), *evidence_rows(rounds, sizes)]


def group_rows(rounds: int, count: int, groups: Sequence[int]) -> list[list[str]]:
    """A step on the same observations in more groups, and in one large group among singletons.

    The same instances step on all of these, and on the same ``x``: only ``group`` differs.
    """
    x, skewed = observations(count), f"one of {count - SINGLETONS:,} and {SINGLETONS} of 1"
    sizes = {
        f"{number:,} even": even_sizes(count, number) for number in {*groups, 10, SINGLETONS + 1}
    }
    sizes[skewed] = [count - SINGLETONS, *[1] * SINGLETONS]
    steps, part = (
        [our_step(paper_pair()) for _ in range(INSTANCES)],
        f"groups, {count:,} observations",
    )
    batches = {name: grouped(x, each) for name, each in sizes.items()}
    times = interleaved(
        {n: [step(b) for step in steps] for n, b in batches.items()}, rounds, label=part
    )
    asked = {max(groups): ASKED_OF_GROUPS}
    rows = [row(part, f"{number:,} even", times, "10 even", asked.get(number)) for number in groups]
    return [*rows, row(part, skewed, times, f"{SINGLETONS + 1} even", ASKED_OF_GROUPS)]


def evidence_rows(rounds: int, sizes: Sequence[int]) -> list[list[str]]:
    """Evidence over those numbers of observations; ratios are of the times per observation."""
    cases = [(way, count) for way in (IN_MEMORY, STREAMED) for count in sizes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        pixels = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.uint8, shape=(max(sizes), *DIGITS)
        )
        for start in range(0, max(sizes), 100_000):
            part = pixels[start : start + 100_000]
            part[:] = np.random.default_rng(start).integers(0, 256, part.shape, dtype=np.uint8)
        grown = memory(path, cases)
        guide = paper_pair(DIGITS)[1]
        turns = {
            f"{count:,} {way}": [
                partial(nullcontext, partial(gather_evidence, guide, data(path, count, way)))
            ]
            for way, count in cases
        }
        times = interleaved(turns, rounds, label="evidence")
    for way, count in cases:
        times[f"{count:,} {way}"] *= max(sizes) / count
    rows = []
    for (way, count), mb in zip(cases, grown, strict=True):
        cells = row("evidence", f"{count:,} {way}", times, f"{max(sizes):,} {way}", mb=mb)
        rows.append([*cells[:2], f"{float(cells[2]) * count / max(sizes):.2f}", *cells[3:]])
    return rows


def data(path: Path, count: int, way: str) -> GroupedDataset:
    """The first ``count`` of the file, in 100 groups: pixels in memory, or left where they are."""
    x = np.load(path, mmap_mode="r")[:count]
    return GroupedDataset.from_arrays(x if way == STREAMED else np.array(x), np.arange(count) % 100)


def memory(path: Path, cases: Sequence[tuple[str, int]]) -> list[str]:
    """Megabytes that each case adds, in its own fork of a server that has imported the library."""
    if not Path("/proc/self/status").exists():
        return [""] * len(cases)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pyro_mlvae.latents"])
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.starmap(growth, [(path, count, way) for way, count in cases], chunksize=1)


def growth(path: Path, count: int, way: str) -> str:
    """Anonymous memory in use at its peak, less that before, in megabytes.

    The mapped file is left out, whose pages the system keeps or drops as it likes; and so is what
    the allocator keeps of what was freed, for it is told to give large pieces back.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, 65_536)
    guide, of = paper_pair(DIGITS)[1], data(path, count, way)
    gather_evidence(guide, of.subset(torch.arange(min(count, 64))))  # what is only done once
    gc.collect()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)  # or the peak would be served from what was freed before
    seen = [anonymous_mb()]
    for layer in guide.encoder.modules():
        layer.register_forward_hook(lambda *_: seen.append(anonymous_mb()))  # where most is in use
    gather_evidence(guide, of)
    return f"{max(seen) - seen[0]:.1f}"


def anonymous_mb() -> float:
    """RssAnon of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024
