"""What gathering evidence adds to anonymous memory, each size in a process of its own.

One process imports the library, once, and forks one for every measurement, where nothing else has grown
memory before. Run by ``evidence.py``: python benchmarks/memory.py FILE THREADS WAY:COUNT ...
"""

from __future__ import annotations

import ctypes
import gc
import json
import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from cases import paper_pair
from machine import status_mb
from observations import EVENT_SHAPE, grouped_data

from pyro_mlvae.latents import gather_evidence

# With what the allocator keeps of what was freed, which is bounded but differs from run to run; and what
# is in use, measured with an allocator that gives large pieces back.
AS_IT_IS, IN_USE = "RssAnon + MB", "in use + MB"
MMAP_THRESHOLD = -3  # of glibc's mallopt

Growth = dict[str, float | None]


def growth(path: Path, count: int, way: str) -> Growth:
    """Both numbers, in megabytes, at their peaks."""
    return {which: _in_a_fork(path, count, way, which) for which in (AS_IT_IS, IN_USE)}


def _in_a_fork(path: Path, count: int, way: str, which: str) -> float | None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, path, count, way, which))
    process.start()
    sender.close()
    grown: float | None = receiver.recv()
    process.join()
    return grown


def _answer(sender: Connection, path: Path, count: int, way: str, which: str) -> None:
    torch.set_num_threads(int(sys.argv[2]))
    libc = ctypes.CDLL(None)
    if which == IN_USE and not (hasattr(libc, "mallopt") and libc.mallopt(MMAP_THRESHOLD, 65_536)):
        sender.send(None)
        return
    guide = paper_pair(event_shape=EVENT_SHAPE)[1]
    data = grouped_data(path, count, way)
    gather_evidence(guide, data.subset(torch.arange(min(count, 64))))  # what is only done once
    gc.collect()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)  # or the peak would be served from what was freed before
    before = peak = status_mb("RssAnon") or 0.0

    def look(*_: object) -> None:
        """RssAnon leaves out the mapped file, whose pages the system keeps or drops as it likes."""
        nonlocal peak
        peak = max(peak, status_mb("RssAnon") or 0.0)

    for layer in guide.encoder.modules():
        layer.register_forward_hook(look)  # where most is in use
    gather_evidence(guide, data)
    sender.send(peak - before)


def main(arguments: Sequence[str]) -> None:
    """Print a line of JSON for each case."""
    # On one thread until it has forked: a fork has none of its parent's threads.
    torch.set_num_threads(1)
    path, _, *cases = arguments
    for case in cases:
        way, _, count = case.partition(":")
        print(json.dumps(growth(Path(path), int(count), way)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
