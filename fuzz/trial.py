"""Trials: cases tried in a process of their own, which is watched from inside and from outside.

From inside, Python's audit events tell what a case writes, runs, unpickles or connects to, and what it
has no right to is refused; an alarm ends what hangs. From outside, a process that dies, or that no alarm
reaches, is noticed, and the trials go on in another.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

MEMORY = 4 * 2**30
# As many times its time the parent waits for a case that does not heed its alarm.
PATIENCE = 6
MOST_SHRUNK = 100

Parts = tuple[str, ...]


class Broken(Exception):
    """What was promised of a case does not hold."""


class Hang(BaseException):
    """Ends a case that takes too long; no handler for exceptions may take it for one of its own."""


class Kind(Protocol):
    """One kind of case.

    Attributes:
        name: what it is called.
        fixed: how many of a case's first parts no smaller case can do without.
        seconds: how long a case may take.
    """

    name: str
    fixed: int
    seconds: float

    def prepare(self) -> None:
        """Once in every process, before its first case."""
        ...

    def parts(self, seed: int, index: int) -> Parts:
        """The case of that number: a function of seed and index alone."""
        ...

    def attempt(self, parts: Parts) -> str:
        """Try the case; returns the kind of its outcome, and raises where a promise is broken."""
        ...


@dataclass
class Found:
    """A way in which cases fail.

    Attributes:
        index: the first case that does.
        parts: the smallest case that was found to.
        text: the traceback.
        count: how many cases do.
    """

    index: int
    parts: Parts
    text: str
    count: int = 1


@dataclass
class Summary:
    """What came of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    found: dict[str, Found] = field(default_factory=dict)
    slowest: tuple[float, int] = (0.0, 0)
    seconds: float = 0.0


class Guard:
    """Refuses, and remembers, what a case does outside itself without the right to.

    Attributes:
        may_write: whether a path may be written.
        may_start: whether another process may be started.
        broken: what was attempted without the right to.
        wrote: whether anything was written.
    """

    def __init__(self) -> None:
        self.watching = False
        sys.addaudithook(self._hook)

    def start(
        self, may_write: Callable[[Path], bool] = lambda path: False, *, may_start: bool = False
    ) -> None:
        """Watch a new case."""
        self.may_write, self.may_start = may_write, may_start
        self.broken: list[str] = []
        self.wrote = False
        self.watching = True

    def stop(self) -> None:
        """Raise unless the case kept to its rights."""
        self.watching = False
        if self.broken:
            raise Broken("; ".join(self.broken))

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
                self._write(event, arguments[0])
        elif event == "os.mkdir" and Path(os.fsdecode(arguments[0])).is_dir():
            pass  # what is there already is not made
        elif event in _WRITES:
            for path in arguments[: _WRITES[event]]:
                # A folder that is open, to which the path is relative, comes last; -1 stands for none.
                beside = event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] >= 0
                folder = Path(f"/proc/self/fd/{arguments[-1]}").resolve() if beside else Path()
                self._write(event, folder / os.fsdecode(path))
        elif event in _STARTS:
            if not self.may_start:
                self._refuse(f"a process was started ({event})")
        elif event == "pickle.find_class":
            self._refuse(f"{arguments[0]}.{arguments[1]} was unpickled")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            raise ConnectionRefusedError("there is no network here")

    def _write(self, event: str, path: Any) -> None:
        if isinstance(path, int) or os.fspath(path) == os.devnull:
            return
        self.wrote = True
        if not self.may_write(Path(os.path.abspath(os.fsdecode(path)))):  # noqa: PTH100 (follows no link)
            self._refuse(f"{event} of {os.fsdecode(path)!r}")

    def _refuse(self, what: str) -> None:
        self.broken.append(what)
        raise PermissionError(13, "Permission denied")


# How many of an event's first arguments are paths that are written to.
_WRITES = {
    "os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.symlink": 2, "os.link": 2,
    "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1,
}  # fmt: skip
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")


def run(kind: Kind, indices: Sequence[int], seed: int, *, progress: bool = True) -> Summary:
    """Try those cases of a kind."""
    summary, started, left = Summary(), time.monotonic(), list(indices)
    with tqdm(total=len(left), desc=kind.name, unit="case", disable=not progress) as bar:
        while left:
            for said in _child(kind, tuple(left), seed):
                index = left.pop(0)
                summary.outcomes[said["outcome"]] += 1
                summary.slowest = max(summary.slowest, (said["seconds"], index))
                if said["outcome"] == "FAILED":
                    found = Found(index, tuple(said["parts"]), said["text"])
                    summary.found.setdefault(said["signature"], found).count += 1
                    bar.write(f"{kind.name} {index}: {said['signature']}", file=sys.stderr)
                bar.update()
    for found in summary.found.values():
        found.count -= 1
    summary.seconds = time.monotonic() - started
    return summary


def _child(kind: Kind, indices: Sequence[int], seed: int) -> Iterator[dict[str, Any]]:
    """What a process of its own says of the cases, one after the other, until it ends."""
    patience = PATIENCE * kind.seconds
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        os.close(reader)
        try:
            _work(kind, indices, seed, writer)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        os._exit(0)
    os.close(writer)
    said = 0
    with os.fdopen(reader, "rb", buffering=0) as lines:
        while said < len(indices) and select.select([lines], [], [], patience)[0]:
            if not (line := lines.readline()):
                break
            yield json.loads(line)
            said += 1
    if said < len(indices):
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if said < len(indices):
        what = f"the process died, or was killed after {patience} s (status {status})"
        parts = kind.parts(seed, indices[said])
        yield _said("FAILED", patience, parts=parts, text=what, signature=what)


def _work(kind: Kind, indices: Sequence[int], seed: int, writer: int) -> None:
    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    signal.signal(signal.SIGALRM, _alarm)
    kind.prepare()
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + MEMORY, virtual + MEMORY))
    for index in indices:
        parts, started = kind.parts(seed, index), time.monotonic()
        outcome, signature, text = _attempt(kind, parts)
        seconds = time.monotonic() - started
        if outcome == "FAILED":
            parts = _shrink(kind, parts, signature)
        line = _said(outcome, seconds, parts=parts, text=text, signature=signature)
        os.write(writer, json.dumps(line).encode() + b"\n")


def _said(outcome: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "seconds": seconds, **(more if outcome == "FAILED" else {})}


def _alarm(*_: object) -> None:
    raise Hang


def _attempt(kind: Kind, parts: Parts) -> tuple[str, str, str]:
    """The outcome, and of a failure what tells it from others, and its traceback."""
    signal.setitimer(signal.ITIMER_REAL, kind.seconds)
    try:
        return kind.attempt(parts), "", ""
    except BaseException as error:
        text = traceback.format_exc()
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "pyro_mlvae" in frame.filename] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        about = f": {error}" if isinstance(error, Broken) else ""
        return "FAILED", f"{type(error).__name__} at {place}{about}", text
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _shrink(kind: Kind, parts: Parts, signature: str) -> Parts:
    """The case without all the parts that it fails the same way without."""
    tried, i = 0, len(parts) - 1
    while i >= kind.fixed and tried < MOST_SHRUNK and not signature.startswith("Hang"):
        smaller = parts[:i] + parts[i + 1 :]
        tried += 1
        if _attempt(kind, smaller)[1].split(":")[0] == signature.split(":")[0]:
            parts = smaller
        i -= 1
    return parts
