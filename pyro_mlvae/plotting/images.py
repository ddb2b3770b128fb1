"""Figures made of observations: swap grids and reconstructions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from pyro_mlvae.plotting.style import CONTENT, STYLE, new_figure


def to_image(x: Tensor) -> np.ndarray:
    """One observation as an image, ``[H, W]`` or ``[H, W, 3]``; a vector becomes a strip of one row."""
    x = x.detach().cpu().float()
    if x.ndim == 3 and x.shape[0] == 3:
        return x.permute(1, 2, 0).numpy()
    if x.ndim == 3 and x.shape[0] == 1:
        return x[0].numpy()
    return x.numpy() if x.ndim == 2 else x.reshape(1, -1).numpy()


def swap_grid(content_x: Tensor, style_x: Tensor, swapped: Tensor, *, title: str) -> Figure:
    """Every content with every style, the originals that gave them at the margins.

    Args:
        content_x: the observations that give content, ``[rows, *event_shape]``.
        style_x: the observations that give style, ``[columns, *event_shape]``.
        swapped: the decoded grid, ``[rows, columns, *event_shape]``.
        title: what is seen.
    """
    rows, columns = swapped.shape[:2]
    limits = _limits(content_x, style_x)
    figure = new_figure(0.62 * (columns + 1) + 0.4, 0.62 * (rows + 1) + 0.6)
    axes = _empty(figure, rows + 1, columns + 1)
    for column in range(columns):
        _place(axes, style_x[column], 0, column + 1, limits, STYLE)
    for row in range(rows):
        _place(axes, content_x[row], row + 1, 0, limits, CONTENT)
        for column in range(columns):
            _place(axes, swapped[row, column], row + 1, column + 1, limits)
    axes.set_title(title, fontsize=11, pad=20)
    across: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 10}
    axes.text((columns + 2) / 2, -0.05, "style from", color=STYLE, **across)
    down: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 10, "rotation": 90}
    axes.text(-0.05, (rows + 2) / 2, "content from", color=CONTENT, **down)
    return figure


def reconstructions(x: Tensor, own_content: Tensor, group_content: Tensor) -> Figure:
    """Observations above their reconstructions from the content of themselves, and of their group.

    Args:
        x: the observations, ``[n, *event_shape]``.
        own_content: decoded with content inferred from each alone, the same shape.
        group_content: decoded with content inferred from its whole group, the same shape.
    """
    lines = {"original": x, "content from itself": own_content, "content from its group": group_content}
    limits = _limits(x)
    figure = new_figure(0.62 * len(x) + 1.8, 0.62 * len(lines) + 0.5)
    axes = _empty(figure, len(lines), len(x))
    for row, (name, images) in enumerate(lines.items()):
        axes.text(-0.1, row + 0.5, name, ha="right", va="center", fontsize=9)
        for column, image in enumerate(images):
            _place(axes, image, row, column, limits)
    axes.set_title("Held-out observations and their reconstructions", fontsize=11)
    return figure


def _limits(*images: Tensor) -> tuple[float, float]:
    low = min(float(x.min()) for x in images)
    high = max(float(x.max()) for x in images)
    # Pixels in [0, 1] keep their scale, whatever the darkest and brightest among these few are.
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def _empty(figure: Figure, rows: int, columns: int) -> Axes:
    """Axes with a cell of size one for each image: one pair of axes draws far faster than hundreds."""
    axes = figure.subplots()
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.axis("off")
    return axes


def _place(
    axes: Axes, x: Tensor, row: int, column: int, limits: tuple[float, float], frame: str | None = None
) -> None:
    """Draw one observation into its cell, framed in a colour where it is an original."""
    low, high = limits
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
