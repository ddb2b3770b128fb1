"""Figures made of observations and of what is decoded: swap grids and reconstructions."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae.plotting.cells import cells, name_above, name_left, name_row, place
from pyro_mlvae.plotting.looks import Look, look_of_shown
from pyro_mlvae.plotting.style import CONTENT, STYLE, plain


@plain
def swap_grid(
    content_x: Tensor | None,
    style_x: Tensor | None,
    swapped: Tensor,
    *,
    title: str,
    look: Look | None = None,
) -> Figure:
    """Every content with every style, the originals that gave them at the margins.

    Args:
        content_x: the observations that give content, ``[rows, *event_shape]``, or None where
            content is drawn from the prior.
        style_x: the observations that give style, ``[columns, *event_shape]``, or None likewise.
        swapped: the decoded grid, ``[rows, columns, *event_shape]``.
        title: what is seen.
        look: how the data looks, by :func:`look_of`; by default as what is shown says.
    """
    rows, columns = swapped.shape[:2]
    top, left = int(style_x is not None), int(content_x is not None)
    look = look or look_of_shown([x for x in (content_x, style_x) if x is not None], swapped)
    figure, axes = cells(rows + top, columns + left, title, look)
    for column, x in enumerate(() if style_x is None else style_x):
        place(axes, x, 0, column + left, look, STYLE)
    for row, x in enumerate(() if content_x is None else content_x):
        place(axes, x, row + top, 0, look, CONTENT)
    for row in range(rows):
        for column in range(columns):
            place(axes, swapped[row, column], row + top, column + left, look)
    name_above(axes, left + columns / 2, "style from" if top else "style from the prior", STYLE)
    name_left(
        axes, top + rows / 2, "content from" if left else "content from the prior", CONTENT, look
    )
    return figure


@plain
def reconstructions(
    x: Tensor,
    own_content: Tensor,
    group_content: Tensor,
    *,
    vae: Tensor | None = None,
    look: Look | None = None,
) -> Figure:
    """Observations above their reconstructions from the content of themselves, and of their group.

    Args:
        x: the observations, ``[n, *event_shape]``.
        own_content: decoded with content inferred from each alone, the same shape.
        group_content: decoded with content inferred from its whole group, the same shape.
        vae: what a plain VAE makes of them, the same shape.
        look: how the data looks, by :func:`look_of`; by default as what is shown says.
    """
    lines = {"content from itself": own_content, "content from its group": group_content}
    if vae is not None:
        lines["a plain VAE"] = vae
    look = look or look_of_shown([x], torch.stack([*lines.values()]))
    title = "Held-out observations and their reconstructions"
    if look.kind == "profile":
        title += ", the originals pale behind them"
    figure, axes = cells(1 + len(lines), len(x), title, look, left=1.8, top=0.5)
    name_row(axes, 0, "original")
    for column, original in enumerate(x):
        place(axes, original, 0, column, look)
        for row, (name, decoded) in enumerate(lines.items(), 1):
            if column == 0:
                name_row(axes, row, name)
            place(axes, decoded[column], row, column, look, beside=original)
    return figure


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
