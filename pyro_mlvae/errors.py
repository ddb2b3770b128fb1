"""The one exception for input that its giver can correct."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

# Of the integers in which sizes and indices are kept.
LARGEST = 2**63 - 1


class InputError(ValueError):
    """Raised for input that the caller can correct; its message is one sentence that says how.

    It is a :class:`ValueError`, so code that knows nothing of this library catches it too. The
    command line turns it into exit status 2, and every other exception into a traceback: what is
    not an ``InputError`` is a bug.
    """


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """An :class:`InputError` for a name that is not known, with the nearest known ones.

    >>> print(unknown_name("data set", "digit", ["digits", "mnist"]))
    unknown data set 'digit': did you mean 'digits'? Known are digits, mnist
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {what} {name!r}: {hint}Known are {', '.join(known)}")


def require_seed(seed: int, most: int = 2**64 - 1) -> None:
    """Raise for what can seed no generator: PyTorch takes seeds of 64 bits."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}")
    if seed > most:
        raise InputError(f"seed must be at most {most}, got a larger one")


def require_positive(**arguments: int) -> None:
    """Raise for the first argument that is not a positive whole number."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a positive whole number, got {value!r}")
        if value > LARGEST:
            raise InputError(f"{name} must be at most {LARGEST}, got a larger one")


def require_types(settings: object, kind: type) -> None:
    """Raise for the first field of a dataclass, as ``kind`` declares it, that is of another type.

    Declared are plain types, tuples of one, and these or None; a whole number will do as a float.
    """
    for name, hint in _hints(kind).items():
        value = getattr(settings, name)
        if not _is_of(value, hint):
            expected = str(hint) if get_args(hint) else hint.__name__
            raise InputError(f"{name} must be of type {expected}, got {value!r:.100}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _is_of(value: object, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(_is_of(value, each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is_of(each, get_args(hint)[0]) for each in value)
    if hint is float and isinstance(value, int):
        # If there is a float near it.
        return not isinstance(value, bool) and abs(value) < 2**1023
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def printable(text: str) -> str:
    """``text`` on one line that moves no terminal's cursor: such characters are escaped.

    >>> print(printable("two\\nlines"))
    two\\nlines
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was asked for which is not there.

    >>> is_out_of_memory(MemoryError())
    True
    """
    # Of the CPU's memory PyTorch says so by a RuntimeError of no type of its own.
    words = (
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "Storage size calculation overflowed",
    )
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
