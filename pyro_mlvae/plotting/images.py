"""Figures made of observations: cells with a picture in each, swap grids and reconstructions."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pyro_mlvae.plotting.style import CONTENT, STYLE, new_figure, plain

# In inches: the side of a cell, and the width that a letter of a title takes.
CELL, LETTER = 0.62, 0.088
NARROWEST = 3.4


def to_image(x: Tensor) -> np.ndarray:
    """One observation as an image, ``[H, W]`` or ``[H, W, 3]``; a vector becomes a strip of one row."""
    x = x.detach().cpu().float()
    if x.ndim == 3 and x.shape[0] == 3:
        return x.permute(1, 2, 0).numpy()
    if x.ndim == 3 and x.shape[0] == 1:
        return x[0].numpy()
    return x.numpy() if x.ndim == 2 else x.reshape(1, -1).numpy()


@plain
def swap_grid(content_x: Tensor | None, style_x: Tensor | None, swapped: Tensor, *, title: str) -> Figure:
    """Every content with every style, the originals that gave them at the margins.

    Args:
        content_x: the observations that give content, ``[rows, *event_shape]``, or None where
            content is drawn from the prior.
        style_x: the observations that give style, ``[columns, *event_shape]``, or None likewise.
        swapped: the decoded grid, ``[rows, columns, *event_shape]``.
        title: what is seen.
    """
    rows, columns = swapped.shape[:2]
    top, left = int(style_x is not None), int(content_x is not None)
    scale = limits([x for x in (content_x, style_x) if x is not None], swapped)
    figure, axes = cells(rows + top, columns + left, title)
    for column, x in enumerate(() if style_x is None else style_x):
        place(axes, x, 0, column + left, scale, STYLE)
    for row, x in enumerate(() if content_x is None else content_x):
        place(axes, x, row + top, 0, scale, CONTENT)
    for row in range(rows):
        for column in range(columns):
            place(axes, swapped[row, column], row + top, column + left, scale)
    name_above(axes, left + columns / 2, "style from" if top else "style from the prior", STYLE)
    name_left(axes, top + rows / 2, "content from" if left else "content from the prior", CONTENT)
    return figure


@plain
def reconstructions(x: Tensor, own_content: Tensor, group_content: Tensor) -> Figure:
    """Observations above their reconstructions from the content of themselves, and of their group.

    Args:
        x: the observations, ``[n, *event_shape]``.
        own_content: decoded with content inferred from each alone, the same shape.
        group_content: decoded with content inferred from its whole group, the same shape.
    """
    lines = {"original": x, "content from itself": own_content, "content from its group": group_content}
    scale = limits([x], own_content)
    figure, axes = cells(
        len(lines), len(x), "Held-out observations and their reconstructions", left=1.8, top=0.5
    )
    for row, (name, images) in enumerate(lines.items()):
        name_row(axes, row, name)
        for column, image in enumerate(images):
            place(axes, image, row, column, scale)
    return figure


def limits(originals: Sequence[Tensor], decoded: Tensor) -> tuple[float, float]:
    """The values that are drawn white and black: (0, 1) for pixels.

    Originals, ``[n, *event_shape]`` each, say whether they are; without any, decoded pixels may
    overshoot a little, and some far. Pictures on another scale have that of the originals; for
    vectors it is that of all that is shown, as a few of them do not tell what others reach.
    """
    if originals:
        pixels = all(bool(((x >= 0.0) & (x <= 1.0)).all()) for x in originals)
    else:
        pixels = float(((decoded < -0.2) | (decoded > 1.2)).float().mean()) < 0.2
    if pixels:
        return 0.0, 1.0
    pictures = bool(originals) and originals[0].ndim > 2
    seen = originals if pictures else (*originals, decoded)
    low, high = min(float(x.min()) for x in seen), max(float(x.max()) for x in seen)
    return (low, high) if high > low else (low, low + 1.0)


def cells(
    rows: float, columns: int, title: str, *, left: float = 0.4, top: float = 0.6
) -> tuple[Figure, Axes]:
    """A figure with a cell of size one for each image, and so much room, in inches, for labels.

    One pair of axes draws far faster than hundreds.
    """
    width = max(CELL * columns + left, NARROWEST)
    # Lines of about the same length, as many as it takes.
    letters = int(width / LETTER)
    count = math.ceil(len(title) / letters)
    lines = textwrap.wrap(title, min(letters, math.ceil(len(title) / count) + 6))
    figure = new_figure(width, CELL * rows + top + 0.18 * (len(lines) - 1))
    figure.suptitle("\n".join(lines), fontsize=11)
    axes = figure.subplots()
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.axis("off")
    return figure, axes


def name_above(axes: Axes, x: float, text: str, colour: str = "black", size: float = 10) -> None:
    """Text above the cells, around ``x`` cells from the left."""
    axes.text(x, -0.05, text, color=colour, ha="center", va="bottom", fontsize=size)


def name_left(axes: Axes, y: float, text: str, colour: str) -> None:
    """Text along the left of the cells, around ``y`` cells from the top; upright where it is too long."""
    fits = LETTER * len(text) <= CELL * axes.get_ylim()[0]
    if not fits:
        text = text.replace(" ", "\n")
    rotation = 90 if fits else 0
    axes.text(-0.05, y, text, color=colour, ha="right", va="center", fontsize=10, rotation=rotation)


def name_row(axes: Axes, row: float, text: str, colour: str = "black") -> None:
    """Text to the left of a row."""
    axes.text(-0.1, row + 0.5, text, color=colour, ha="right", va="center", fontsize=9)


def place(
    axes: Axes, x: Tensor, row: float, column: float, scale: tuple[float, float], frame: str | None = None
) -> None:
    """Draw one observation into its cell, framed in a colour where it is an original."""
    low, high = scale
    image = ((to_image(x) - low) / (high - low)).clip(0.0, 1.0)
    # A picture keeps its shape inside the cell; a strip, which has none, fills it.
    tall, wide = image.shape[:2] if image.shape[0] > 1 else (1, 1)
    half_height, half_width = 0.44 * tall / max(tall, wide), 0.44 * wide / max(tall, wide)
    left, right = column + 0.5 - half_width, column + 0.5 + half_width
    top, bottom = row + 0.5 - half_height, row + 0.5 + half_height
    axes.imshow(
        image, cmap="gray_r", vmin=0.0, vmax=1.0, extent=(left, right, bottom, top), interpolation="none"
    )
    if frame is not None:
        size = (right - left, bottom - top)
        axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=frame, linewidth=1.8))


def first_of_each_group(group: Tensor, most: int = 10) -> Tensor:
    """The index of the first observation of each of the first ``most`` groups that occur.

    >>> first_of_each_group(torch.tensor([2, 2, 0, 5, 0]), most=2).tolist()
    [2, 0]
    """
    present, dense = torch.unique(group, return_inverse=True)
    first = torch.full((len(present),), len(group)).scatter_reduce(
        0, dense, torch.arange(len(group)), "amin"
    )
    return first[:most]
