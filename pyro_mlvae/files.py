"""Files: written whole or not at all, and looked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mlvae.errors import LARGEST, InputError, printable

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on success it takes ``path``'s place.

    Whoever reads ``path`` finds the old file or the new one, whole, whatever happens to the writer:
    the new one is flushed to the disk before it is renamed, and removed where writing it failed.
    The folder is made where there is none.

    Raises:
        InputError: it cannot be written there, or no longer, for want of space, say.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with write_atomically(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    # The suffix stays last, for writers that choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): choose another"
        ) from None
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}): make room, or write elsewhere; "
            f"what was there before is as it was"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left in ``folder`` and the folders in it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in (".model.99.tmp.safetensors", "notes.tmp"):
    ...     _ = (folder / name).write_text("half")
    >>> remove_leftovers(folder)
    >>> [file.name for file in folder.iterdir()]
    ['notes.tmp']
    """
    for file in folder.rglob(".*.tmp*"):
        if is_leftover(file):
            file.unlink(missing_ok=True)


def is_leftover(file: Path) -> bool:
    """Whether a file is one that :func:`write_atomically` writes to before it is whole."""
    return _LEFTOVER.fullmatch(file.name) is not None


def find_path(path: str | Path) -> Path:
    """``path`` with ``~`` replaced, whether or not something is there.

    Raises:
        InputError: nothing can be: it is too long, or cannot be looked at.

    >>> find_path("nowhere/data.npz").name
    'data.npz'
    """
    try:
        found = Path(path).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"there can be nothing at {printable(str(path))} ({reason}): check the path"
        ) from None
    return found


def memory_size() -> int:
    """How many bytes of memory this process can have at most.

    >>> memory_size() > 10**8
    True
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ImportError, ValueError, OSError):  # not everywhere does the system tell
        return LARGEST
    return there if limit == resource.RLIM_INFINITY else min(there, limit)
