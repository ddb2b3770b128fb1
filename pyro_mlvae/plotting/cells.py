"""A figure of cells, each with an observation in it, and the names around them."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pyro_mlvae.plotting.looks import Look
from pyro_mlvae.plotting.style import new_figure, plain

# In inches: the width that a letter of a title takes, and the room for a note below the cells.
LETTER, NOTE = 0.088, 0.26
# A figure is no narrower, and its cells together no wider.
NARROWEST, WIDEST = 3.4, 12.0
# How many points a name is away from its cells.
AWAY = 5
# How far from the middle of a cell its observation reaches, in cells.
REACH = 0.44
# Up to so many features, each has a dot.
MOST_DOTS = 12
PANEL, LINE, BESIDE = "#f3f3f3", "#222222", "#bbbbbb"


@plain
def cells(
    rows: float, columns: int, title: str, look: Look, *, left: float = 0.4, top: float = 0.6
) -> tuple[Figure, Axes]:
    """A figure with a cell of size one for each observation, and room, in inches, for labels.

    One pair of axes draws far faster than hundreds.
    """
    cell_width, cell_height = _cell_size(look, columns)
    width = max(cell_width * columns + left, NARROWEST)
    # Lines of about the same length, as many as it takes.
    letters = int(width / LETTER)
    count = math.ceil(len(title) / letters)
    lines = textwrap.wrap(title, min(letters, math.ceil(len(title) / count) + 6))
    height = cell_height * rows + top + 0.18 * (len(lines) - 1) + (NOTE if look.note else 0.0)
    figure = new_figure(width, height)
    # For axes of a fixed aspect; plainly constrained, names of rows would be cut.
    figure.set_layout_engine("compressed")
    figure.suptitle("\n".join(lines), fontsize=11)
    axes = figure.subplots()
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect=cell_height / cell_width)
    axes.axis("off")
    if look.note:
        note: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8.5, "color": "#555555"}
        axes.text(columns / 2, rows + 0.05, look.note, **note)
    return figure, axes


@plain
def name_above(axes: Axes, x: float, text: str, colour: str = "black", size: float = 10) -> None:
    """Text above the cells, around ``x`` cells from the left."""
    axes.annotate(
        text,
        (x, 0),
        (0, AWAY),
        textcoords="offset points",
        color=colour,
        ha="center",
        fontsize=size,
    )


@plain
def name_left(axes: Axes, y: float, text: str, colour: str, look: Look) -> None:
    """Text along the left, around ``y`` cells from the top; upright where it is too long."""
    fits = LETTER * len(text) <= _cell_size(look, axes.get_xlim()[1])[1] * axes.get_ylim()[0]
    if not fits:
        text = text.replace(" ", "\n")
    place: dict[str, Any] = {"xytext": (-AWAY, 0), "textcoords": "offset points", "ha": "right"}
    axes.annotate(
        text, (0, y), **place, va="center", color=colour, fontsize=10, rotation=90 if fits else 0
    )


@plain
def name_row(axes: Axes, row: float, text: str, colour: str = "black") -> None:
    """Text to the left of a row."""
    place: dict[str, Any] = {"xytext": (-AWAY, 0), "textcoords": "offset points", "ha": "right"}
    axes.annotate(text, (0, row + 0.5), **place, va="center", color=colour, fontsize=9)


@plain
def place(
    axes: Axes,
    x: Tensor,
    row: float,
    column: float,
    look: Look,
    frame: str | None = None,
    *,
    beside: Tensor | None = None,
) -> None:
    """Draw one observation into its cell.

    Args:
        axes: of :func:`cells`.
        x: the observation, ``event_shape``.
        row: the top of the cell, in cells.
        column: the left of it.
        look: how it is drawn.
        frame: the colour of a frame, for originals.
        beside: what a profile is compared with, drawn pale behind it; pictures stand in cells of
            their own.
    """
    left, right = column + 0.5 - REACH, column + 0.5 + REACH
    top, bottom = row + 0.5 - REACH, row + 0.5 + REACH
    corner, size = (left, top), (right - left, bottom - top)
    if look.kind == "profile":
        axes.add_patch(Rectangle(corner, *size, facecolor=PANEL, linewidth=0.0))
        if beside is not None:
            _draw_profile(axes, look.array(beside), corner, size, BESIDE, 2.4)
        _draw_profile(axes, look.array(x), corner, size, LINE, 0.9)
    else:
        axes.imshow(
            np.ma.masked_invalid(look.array(x)),
            cmap=colormaps[look.colours],
            vmin=0.0,
            vmax=1.0,
            extent=(left, right, bottom, top),
            aspect="auto",
            interpolation="none",
        )
        axes.set_aspect(look.size[1] / look.size[0])
    if frame is not None:
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=frame, linewidth=1.8))


def _cell_size(look: Look, columns: float) -> tuple[float, float]:
    """Width and height of a cell where there are so many columns."""
    shrunk = min(1.0, WIDEST / (look.size[0] * columns))
    return look.size[0] * shrunk, look.size[1] * shrunk


def _draw_profile(
    axes: Axes,
    values: np.ndarray,
    corner: tuple[float, float],
    size: tuple[float, float],
    colour: str,
    linewidth: float,
) -> None:
    """A line through the features from left to right; a missing one is a gap."""
    count = len(values)
    across = (np.arange(count) + 0.5) / count
    axes.plot(
        corner[0] + size[0] * across,
        corner[1] + size[1] * (0.94 - 0.88 * values),
        color=colour,
        linewidth=linewidth,
        solid_joinstyle="round",
        marker="o" if count <= MOST_DOTS else "",
        markersize=2.5 + linewidth,
    )
