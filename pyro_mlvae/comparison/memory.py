"""The growth of resident memory in one step, each measured in a child process of its own.

A fork has the pair as it is: nothing is written down, sent or unpickled, so any model and guide
will do.
"""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pyro_mlvae.comparison.cases import Case
from pyro_mlvae.comparison.cost import make_step
from pyro_mlvae.data.batch import GroupedBatch

_STATUS = Path("/proc/self/status")
# A child that takes longer than so many seconds has stopped: a lock that was held when it was
# forked.
_PATIENCE = 60.0


def memory_of_steps(
    model: nn.Module, guide: nn.Module, batch: GroupedBatch, cases: Sequence[Case]
) -> list[float | None]:
    """Megabytes that a step of each case adds to resident memory at its peak, on one thread.

    None where they cannot be known: on a GPU, where the system has no ``fork`` and no ``/proc``, or
    where the step fails.
    """
    if not (_STATUS.exists() and hasattr(os, "fork") and batch.x.device.type == "cpu"):
        return [None] * len(cases)
    threads = torch.get_num_threads()
    # A fork has none of its parent's threads, and would wait for them.
    torch.set_num_threads(1)
    try:
        # The first step of all imports half of torch, which is done once, for all.
        with torch.random.fork_rng([]):
            make_step(model, guide, Case("trace", 1).make())(_two_observations(batch))
        return [_in_a_fork(model, guide, batch, case) for case in cases]
    finally:
        torch.set_num_threads(threads)


def _in_a_fork(model: nn.Module, guide: nn.Module, batch: GroupedBatch, case: Case) -> float | None:
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # That there are threads, such as a progress bar's: the child uses none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.write(writer, repr(_growth(model, guide, batch, case)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        ready, _, _ = select.select([answer], [], [], _PATIENCE)
        if not ready:
            os.kill(child, signal.SIGKILL)
        said = answer.read()
    os.waitpid(child, 0)
    return float(said) if said else None


def _growth(model: nn.Module, guide: nn.Module, batch: GroupedBatch, case: Case) -> float:
    """Megabytes from before a step to its peak, without what only the first step costs."""
    gc.freeze()  # what is the parent's: to look through it would copy its pages
    torch.manual_seed(0)
    step = make_step(model, guide, case.make())
    step(_two_observations(batch))
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)  # else the step would be served from what its forerunners freed
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _kilobytes("VmRSS")
    step(batch)
    return (_kilobytes("VmHWM") - before) / 1024.0


def _two_observations(batch: GroupedBatch) -> GroupedBatch:
    return batch.members(torch.arange(min(2, len(batch)), device=batch.group.device))


def _kilobytes(field: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1])
