"""Evidence over a thousand to a million observations: the time of each, and how much memory grows.

Observations are in memory, or streamed from a memory-mapped file. Both should be constant: the time of an
observation, for the cost is linear, and the growth of memory, from the size of one piece (4,096) on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from json import loads
from pathlib import Path

import numpy as np
import torch
from cases import paper_pair
from machine import status_mb
from memory import Growth
from observations import EVENT_SHAPE, WAYS, grouped_data, write_observations
from results import Row
from timing import Times, at_once, interleaved, ratio
from tqdm import tqdm

from pyro_mlvae.latents import gather_evidence

SIZES = (1_000, 10_000, 100_000, 1_000_000)
Case = tuple[str, int]


def evidence_rows(rounds: int, *, sizes: Sequence[int] = SIZES) -> list[Row]:
    """Every size, both ways; ratios are of the times per observation."""
    cases = [(way, count) for way in WAYS for count in sizes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.bin"
        write_observations(path, max(sizes))
        grown = _memory(path, cases)
        times = _times(path, cases, rounds)
    rows = []
    for way, count in cases:
        own, largest = times[_name(way, count)], times[_name(way, max(sizes))]
        ms = float(np.median(own))
        row = Row(
            part="evidence, per observation",
            case=_name(way, count),
            ms=ms,
            base=f"{max(sizes):,}",
            ratio=ratio(own / count, largest / max(sizes)),
            at={"observations": count},
            more={"µs per observation": 1e3 * ms / count, **grown.get((way, count), {})},
        )
        rows.append(row)
    return rows


def _times(path: Path, cases: Sequence[Case], rounds: int) -> dict[str, Times]:
    """In this process, all of them in turns."""
    guide = paper_pair(event_shape=EVENT_SHAPE)[1]
    gather = {
        _name(way, count): [at_once(partial(gather_evidence, guide, grouped_data(path, count, way)))]
        for way, count in cases
    }
    return interleaved(gather, rounds, label="evidence", warm_up=1)


def _memory(path: Path, cases: Sequence[Case]) -> Mapping[Case, Growth]:
    """In another process for each; nothing where the system does not tell."""
    if status_mb("RssAnon") is None:
        return {}
    script = str(Path(__file__).with_name("memory.py"))
    asked = [f"{way}:{count}" for way, count in cases]
    command = [sys.executable, script, str(path), str(torch.get_num_threads()), *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = tqdm(process.stdout, desc="evidence, memory", total=len(cases), leave=False, disable=None)
        return {case: loads(line) for case, line in zip(cases, lines, strict=True)}


def _name(way: str, count: int) -> str:
    return f"{count:,} {way}"
