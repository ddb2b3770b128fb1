"""The job that ``torchrun`` starts: which process this is, and how it ends with the others."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError


@dataclass(frozen=True)
class Job:
    """This process and those that it trains together with; None for the group where it is alone."""

    device: torch.device
    process_group: dist.ProcessGroup | None = None
    rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    @contextmanager
    def after_first(self) -> Iterator[None]:
        """Let the first process go ahead of the others."""
        if not self.first:
            dist.barrier(self.process_group)
        yield
        if self.first and self.process_group is not None:
            dist.barrier(self.process_group)


def processes() -> int:
    """How many processes the job has: one, unless ``torchrun`` has started more."""
    # Others set that variable too.
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


@contextmanager
def job(device: str) -> Iterator[Job]:
    """Join the processes that ``torchrun`` has started, if it has; each has the GPU of its number.

    Raises:
        InputError: the device is not here; or another process ended, and this one cannot go on
            alone.
    """
    if processes() == 1:
        yield Job(find_device(device))
        return
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    found = find_device(device)
    if found.type == "cuda":
        torch.cuda.set_device(found)
    before = signal.signal(signal.SIGTERM, _end)
    dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    try:
        yield Job(found, dist.group.WORLD, dist.get_rank())
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise InputError(_ENDED) from error
    finally:
        dist.destroy_process_group()
        signal.signal(signal.SIGTERM, before)


_ENDED = "another process of the job has ended, see its error above: start again with --resume RUN"


def _is_lost_connection(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _end(signum: int, frame: Any) -> NoReturn:
    """What ``torchrun`` asks for when another process has failed."""
    print(f"pyro-mlvae: {_ENDED}", file=sys.stderr)
    raise SystemExit(128 + signum)
