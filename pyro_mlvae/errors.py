"""The one exception for input that its giver can correct."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def require_seed(seed: int) -> None:
    """Raise for what can seed no generator."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, got {seed!r}")


def require_positive(**arguments: int) -> None:
    """Raise for the first argument that is not a positive whole number."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a positive whole number, got {value!r}")
