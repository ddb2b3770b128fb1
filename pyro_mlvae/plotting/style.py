"""One look for every figure: colour-blind safe colours, light frames, 200 dots an inch."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pyro_mlvae.files import write_atomically

# Okabe and Ito (2008): told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CONTENT, STYLE, CONTROL = COLOURS[0], COLOURS[1], "#777777"


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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG of 200 dots an inch; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary, rc_context({"savefig.dpi": 200}):
        figure.savefig(temporary)
