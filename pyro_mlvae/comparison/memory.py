"""The growth of resident memory in one step, measured where nothing else has grown it before.

One process imports the library, once, and forks a process for every measurement. It is asked over a
temporary file of the parent's own and answers on its standard output.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn

from pyro_mlvae.comparison.cost import make_step
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators import make_estimator

_STATUS = Path("/proc/self/status")
_SERVE = "from pyro_mlvae.comparison.memory import serve; serve()"

# Name, particles and alpha of an estimator.
Case = tuple[str, int, float | None]


class MemoryProbe:
    """Measures in the background; leaving the context ends it.

    Args:
        model: the model.
        guide: its guide.
        batch: the batch of the step.
        cases: the estimators.
    """

    def __init__(
        self, model: nn.Module, guide: nn.Module, batch: GroupedBatch, cases: Sequence[Case]
    ) -> None:
        self._count = len(cases)
        self._process: subprocess.Popen[bytes] | None = None
        if not (_STATUS.exists() and hasattr(os, "fork") and batch.x.device.type == "cpu"):
            return
        threads = torch.get_num_threads()
        with tempfile.TemporaryFile() as question:
            try:
                pickle.dump((model, guide, batch, list(cases), threads), question)
            except (pickle.PicklingError, AttributeError, TypeError):
                return  # a pair with a function of the caller's in it cannot go to another process
            question.seek(0)
            path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVE],
                stdin=question,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
            )

    def __enter__(self) -> MemoryProbe:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def results(self) -> list[float | None]:
        """Megabytes for every case, None where they cannot be known; waits for them."""
        unknown: list[float | None] = [None] * self._count
        if self._process is None:
            return unknown
        answer, _ = self._process.communicate()
        if self._process.returncode:
            return unknown
        found: list[float | None] = json.loads(answer)
        return found


def serve() -> None:
    """Answer the question on standard input: the megabytes of each case, as JSON."""
    model, guide, batch, cases, threads = pickle.load(sys.stdin.buffer)
    # On one thread until it has forked: a fork has none of its parent's threads. The first step of all
    # imports half of torch, which is done once, for all.
    torch.set_num_threads(1)
    make_step(model, guide, make_estimator("trace"))(_two_observations(batch))
    found = [_in_a_fork(model, guide, batch, case, threads) for case in cases]
    sys.stdout.write(json.dumps(found))


def _in_a_fork(model: Any, guide: Any, batch: GroupedBatch, case: Case, threads: int) -> float | None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(threads)
            os.write(writer, repr(_growth(model, guide, batch, case)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return float(said) if said and not status else None


def _growth(model: Any, guide: Any, batch: GroupedBatch, case: Case) -> float:
    """Megabytes from before a step to its peak; the library's own first-time costs are paid before."""
    name, num_particles, alpha = case
    torch.manual_seed(0)
    step = make_step(model, guide, make_estimator(name, num_particles, alpha=alpha))
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
    x = batch.x[:2]
    # In a super-group, for models that need one.
    return GroupedBatch.trusted(x, torch.arange(len(x)), len(x), torch.zeros(len(x), dtype=torch.int64), 1)


def _kilobytes(field: str) -> int:
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1])
