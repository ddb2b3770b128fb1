"""One look for every figure: colour-blind safe colours, light frames, 200 dots an inch.

A figure is the same whatever a user's matplotlibrc or notebook asks for: what makes one is
decorated with ``plain``, which draws inside matplotlib's own defaults, and pyplot is never
imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib import style as styles
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.files import write_atomically

# Okabe and Ito (2008): told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CONTENT, STYLE, CONTROL = COLOURS[0], COLOURS[1], "#777777"
DOTS = 200  # an inch
# As a decorator or in a with statement: matplotlib's defaults inside, the user's settings after.
plain = styles.context("default")
# The formats by suffix, each with what keeps the date out of the file.
UNDATED: dict[str, dict[str, None]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, apart from pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> Axes:
    """Light frame and grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def require_figure_path(path: Path) -> None:
    """Raise :class:`InputError` unless the suffix of ``path`` is that of a format we write.

    >>> require_figure_path(Path("figure.jpg"))
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: a figure must end in .png, .pdf or .svg, got 'figure.jpg': rename
        it
    """
    if path.suffix.lower() not in UNDATED:
        raise InputError(f"a figure must end in .png, .pdf or .svg, got {str(path)!r}: rename it")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix: PNG of 200 dots an inch, PDF or SVG.

    The file appears whole or not at all, and the same figure gives the same file.

    Raises:
        InputError: the suffix is none of these.
    """
    require_figure_path(path)
    with (
        write_atomically(path) as temporary,
        styles.context("default"),
        rc_context({"savefig.dpi": DOTS, "svg.hashsalt": path.stem}),
    ):
        figure.savefig(temporary, metadata=UNDATED[path.suffix.lower()])


def wide_figure(width: float, height: float) -> Figure:
    """A figure whose panels stand well apart."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", wspace=0.06, hspace=0.05)
    return figure


def save_each(folder: Path, figures: Mapping[str, Callable[[], Figure]]) -> dict[str, str]:
    """Draw figures one by one and write each as PNG; one that fails costs none of the others.

    Args:
        folder: where they go.
        figures: what makes each of them, by its name.

    Returns:
        Why, by name, of those that could not be drawn.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_each(Path(folder), {"broken": lambda: 1 / 0})
    {'broken': 'ZeroDivisionError: division by zero'}
    """
    failed = {}
    for name, draw in figures.items():
        path = folder / f"{name}.png"
        try:
            save_figure(draw(), path)
        except Exception as error:
            # Whatever it is, what was trained and measured must not be lost to it.
            path.unlink(missing_ok=True)  # an older one would be taken for this run's
            failed[name] = printable(" ".join(f"{type(error).__name__}: {error}".split())[:300])
    return failed
