"""Load matplotlib whatever MPLBACKEND says: the first import in this package.

Figures are drawn without a backend, but ``import matplotlib`` reads MPLBACKEND, and raises where it
names none that is installed, as a notebook does in a terminal that is opened from it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def load_matplotlib() -> None:
    """Import matplotlib; MPLBACKEND stays as it is, and counts where it names a backend."""
    if "matplotlib" in sys.modules:
        return
    named = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = named


load_matplotlib()
