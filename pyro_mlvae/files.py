"""Writing files so that nothing is ever half-written, or lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mlvae.errors import InputError

_LEFTOVER = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on success it takes ``path``'s place.

    Whoever reads ``path`` finds the old file or the new one, whole, whatever happens to the writer:
    the new one is flushed to the disk before it is renamed, and removed where writing it failed.

    Raises:
        InputError: it cannot be written, for want of space, say.

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
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): make room, or write elsewhere; what "
            f"was there before is as it was"
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
        if _LEFTOVER.fullmatch(file.name):
            file.unlink(missing_ok=True)
