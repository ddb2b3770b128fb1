"""Figures made of observations: swap grids and reconstructions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae.plotting.style import CONTENT, STYLE, new_figure


def to_image(x: Tensor) -> np.ndarray:
    """One observation as an image, ``[H, W]`` or ``[H, W, 3]``; a vector becomes a strip of one row."""
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
    figure = new_figure(0.62 * (columns + 1) + 0.5, 0.62 * (rows + 1) + 0.9)
    grid = figure.subplots(
        rows + 1,
        columns + 1,
        squeeze=False,
        gridspec_kw={"wspace": 0.04, "hspace": 0.04},
    )
    limits = _limits(content_x, style_x)
    grid[0, 0].axis("off")
    for column in range(columns):
        _show(grid[0, column + 1], style_x[column], limits, STYLE)
    for row in range(rows):
        _show(grid[row + 1, 0], content_x[row], limits, CONTENT)
        for column in range(columns):
            _show(grid[row + 1, column + 1], swapped[row, column], limits)
    figure.suptitle(title, fontsize=11)
    figure.supylabel("content taken from", color=CONTENT, fontsize=10)
    grid[0, (columns + 1) // 2].set_title("style taken from", color=STYLE, fontsize=10)
    return figure


def reconstructions(x: Tensor, own_content: Tensor, group_content: Tensor) -> Figure:
    """Observations above their reconstructions from the content of themselves, and of their group.

    Args:
        x: the observations, ``[n, *event_shape]``.
        own_content: decoded with content inferred from each alone, the same shape.
        group_content: decoded with content inferred from its whole group, the same shape.
    """
    lines = (
        ("original", x),
        ("content from itself", own_content),
        ("content from its group", group_content),
    )
    figure = new_figure(0.62 * len(x) + 1.5, 0.62 * len(lines) + 0.7)
    grid = figure.subplots(len(lines), len(x), squeeze=False, gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    limits = _limits(x)
    for (name, images), line in zip(lines, grid, strict=True):
        for axes, image in zip(line, images, strict=True):
            _show(axes, image, limits)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle("Held-out observations and their reconstructions", fontsize=11)
    return figure


def _limits(*images: Tensor) -> tuple[float, float]:
    low = min(float(x.min()) for x in images)
    high = max(float(x.max()) for x in images)
    # Pixels in [0, 1] keep their scale, whatever the darkest and brightest among these few are.
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def _show(axes: Axes, x: Tensor, limits: Sequence[float], frame: str | None = None) -> None:
    image = to_image(x.detach().cpu().float())
    if image.ndim == 3:
        image = ((image - limits[0]) / (limits[1] - limits[0])).clip(0.0, 1.0)
    axes.imshow(image, cmap="gray_r", vmin=limits[0], vmax=limits[1])
    axes.set_aspect("equal" if image.shape[0] > 1 else "auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame is not None)
        if frame is not None:
            spine.set(color=frame, linewidth=1.6)


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
