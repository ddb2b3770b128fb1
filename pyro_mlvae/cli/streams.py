"""Standard streams that may be missing, or whose reader may go away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any


class LenientStream:
    """A text stream for which what is written is never a reason to stop.

    ``head -1`` closes its end after a line: what follows is dropped. A terminal of few characters
    shows question marks for others.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write ``text``, as far as somebody reads it."""
        try:
            self._stream.write(text)
        except BrokenPipeError:
            self._drop()
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            self._stream.write(text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, as far as somebody reads it."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Let all else that is written go nowhere, what is still buffered too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Standard output and error that are there, and lenient.

    A service and ``pythonw`` have none; what is written then goes nowhere.
    """
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        out, err = LenientStream(sys.stdout or nowhere), LenientStream(sys.stderr or nowhere)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                yield
            finally:
                out.flush()
                err.flush()
