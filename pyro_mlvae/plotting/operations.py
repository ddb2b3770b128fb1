"""Figures of the operations on the latent space: what is interpolated, drawn, and moved along."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.plotting.cells import cells, name_above, name_left, name_row, place
from pyro_mlvae.plotting.images import swap_grid
from pyro_mlvae.plotting.looks import Look, look_of_shown
from pyro_mlvae.plotting.style import CONTENT, STYLE, plain

INTERPOLATED = {
    "grid": "From one content to another down, from one style to another across",
    "content": "From one content to another, style held",
    "style": "From one style to another, content held",
    "both": "From one content and style to another, both at once",
}
MOST_TRAVERSED = 12
# In a traversal, in cells: the room for the originals and the values, where each original stands,
# to the right of its name, and the height of a row with the mark below it.
HEADER, ROW = 1.5, 1.15
HEADING = {"content": (1.9, CONTENT), "style": (4.9, STYLE)}


@plain
def interpolation_figure(
    content_x: Tensor,
    style_x: Tensor,
    decoded: Tensor,
    *,
    vary: str = "grid",
    look: Look | None = None,
) -> Figure:
    """What :func:`~pyro_mlvae.latents.decoding.interpolate` decodes, beside the ends.

    Args:
        content_x: the observations that give the ends of content, ``[2, *event_shape]``.
        style_x: the observations that give the ends of style, ``[2, *event_shape]``.
        decoded: ``[steps, steps, *event_shape]`` for "grid", ``[steps, *event_shape]`` otherwise.
        vary: how it was made: "grid", "content", "style" or "both".
        look: how the data looks, by :func:`look_of`; by default as what is shown says.

    Raises:
        InputError: ``vary`` is not known.

    >>> import torch
    >>> x = torch.rand(2, 1, 4, 4)
    >>> figure = interpolation_figure(x, x, torch.rand(8, 1, 4, 4), vary="both")
    >>> figure.get_suptitle()
    'From one content and style to another, both at once'
    """
    if vary not in INTERPOLATED:
        raise unknown_name("way to vary", vary, INTERPOLATED)
    look = look or look_of_shown([content_x, style_x], decoded)
    steps = len(decoded)
    if vary == "grid":
        figure, axes = cells(steps + 1, steps + 1, INTERPOLATED[vary], look)
        for end, at in enumerate((1, steps)):
            place(axes, content_x[end], at, 0, look, CONTENT)
            place(axes, style_x[end], 0, at, look, STYLE)
        _lead(axes, (0.5, 2.0), (0.5, float(steps)), CONTENT)
        _lead(axes, (2.0, 0.5), (float(steps), 0.5), STYLE)
        for row in range(steps):
            for column in range(steps):
                place(axes, decoded[row, column], row + 1, column + 1, look)
        name_above(axes, 1 + steps / 2, "style from", STYLE)
        name_left(axes, 1 + steps / 2, "content from", CONTENT, look)
        return figure
    figure, axes = cells(3, steps, INTERPOLATED[vary], look, left=1.3, top=0.5)
    originals = (("content", content_x, CONTENT), ("style", style_x, STYLE))
    for row, (name, x, colour) in enumerate(originals):
        name_row(axes, row, f"{name} from", colour)
        place(axes, x[0], row, 0, look, colour)
        if vary in (name, "both"):
            place(axes, x[1], row, steps - 1, look, colour)
            _lead(axes, (1.0, row + 0.5), (steps - 1.0, row + 0.5), colour)
    name_row(axes, 2, "decoded")
    for column, image in enumerate(decoded):
        place(axes, image, 2, column, look)
    return figure


@plain
def generation_figure(
    generated: Tensor,
    *,
    content_x: Tensor | None = None,
    style_x: Tensor | None = None,
    look: Look | None = None,
) -> Figure:
    """What :func:`~pyro_mlvae.latents.decoding.generate` decodes.

    Args:
        generated: the decoded grid, ``[rows, columns, *event_shape]``.
        content_x: the observations that gave content, ``[rows, *event_shape]``; None if it was
            drawn.
        style_x: the observations that gave style, ``[columns, *event_shape]``; None if it was
            drawn.
        look: how the data looks, by :func:`look_of`; by default as what is shown says.

    >>> import torch
    >>> generation_figure(torch.rand(3, 6, 1, 4, 4)).get_suptitle()
    'Contents and styles drawn from the prior'
    """
    titles = {
        (True, True): "Contents and styles drawn from the prior",
        (False, True): "Contents of observations in styles drawn from the prior",
        (True, False): "Contents drawn from the prior in styles of observations",
        (False, False): "Contents and styles of observations",
    }
    title = titles[content_x is None, style_x is None]
    return swap_grid(content_x, style_x, generated, title=title, look=look)


@plain
def traversal_figure(
    content_x: Tensor,
    style_x: Tensor,
    traversed: Tensor,
    values: Sequence[float] | Tensor,
    *,
    which: str = "content",
    own: Sequence[float] | Tensor | None = None,
    most: int = MOST_TRAVERSED,
    look: Look | None = None,
) -> Figure:
    """What :func:`~pyro_mlvae.latents.decoding.traverse` decodes, the largest changes first.

    Args:
        content_x: the observation that gave content, ``event_shape``.
        style_x: the observation that gave style, ``event_shape``.
        traversed: ``[dim, len(values), *event_shape]``.
        values: what each dimension was set to, in ascending order.
        which: whose dimensions they are, "content" or "style".
        own: the value that each dimension has in the code that was started from, ``[dim]``: marked
            below each row, between the values that it lies between.
        most: of more dimensions than this, those that change the decoded observation most are
            drawn; dimensions keep their numbers, which start from 0.
        look: how the data looks, by :func:`look_of`; by default as what is shown says.

    Raises:
        InputError: ``which`` is not known, or ``values`` or ``own`` are not as many as were
            decoded.

    >>> import torch
    >>> x = torch.rand(1, 4, 4)
    >>> figure = traversal_figure(x, x, torch.rand(16, 3, 1, 4, 4), [-2, 0, 2], most=4)
    >>> figure.get_suptitle()
    'Content, one dimension at a time: the 4 of 16 that change x most'
    """
    if which not in HEADING:
        raise unknown_name("latent that is traversed", which, HEADING)
    counts = (("values", values, traversed.shape[1]), ("own", own, len(traversed)))
    for name, given, count in counts:
        if given is not None and len(given) != count:
            raise InputError(
                f"{name} must be the {count} numbers that were decoded, got {len(given)}"
            )
    change = traversed.flatten(2).var(dim=1, correction=0).sum(-1)
    shown = change.argsort(descending=True)[:most].tolist()
    look = look or look_of_shown([content_x.unsqueeze(0), style_x.unsqueeze(0)], traversed)
    order = f"the {most} of {len(traversed)} that change x most"
    if most >= len(traversed):
        order = "what changes x most first"
    columns = len(values)
    title = f"{which.capitalize()}, one dimension at a time: {order}"
    figure, axes = cells(len(shown) * ROW + HEADER, max(columns, 8), title, look, left=1.4)
    for name, x in (("content", content_x), ("style", style_x)):
        at, colour = HEADING[name]
        axes.text(at, 0.5, f"{name} from", color=colour, ha="right", va="center", fontsize=10)
        place(axes, x, 0, at, look, colour)
    if own is not None:
        axes.plot([7.2], [0.5], marker="^", markersize=5, color=HEADING[which][1])
        axes.text(7.35, 0.5, "own value", ha="left", va="center", fontsize=9)
    for column, value in enumerate(values):
        axes.text(
            column + 0.5, HEADER - 0.05, f"{float(value):g}", ha="center", va="bottom", fontsize=9
        )
    for rank, dimension in enumerate(shown):
        row = rank * ROW + HEADER
        name_row(axes, row, f"{which} {dimension}", HEADING[which][1])
        for column in range(columns):
            place(axes, traversed[dimension, column], row, column, look)
        if own is not None:
            _mark(
                axes,
                float(own[dimension]),
                [float(value) for value in values],
                row,
                HEADING[which][1],
            )
    return figure


def _mark(axes: Axes, own: float, values: Sequence[float], row: float, colour: str) -> None:
    """A triangle where ``own`` lies between ``values``; beyond them, one at the edge."""
    middles = np.arange(len(values)) + 0.5
    at = float(np.interp(own, values, middles))
    if own < values[0]:
        at -= 0.5
    elif own > values[-1]:
        at += 0.5
    marker = "<" if own < values[0] else ">" if own > values[-1] else "^"
    axes.plot([at], [row + 1.06], marker=marker, markersize=4.5, color=colour, clip_on=False)


def _lead(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """An arrow from one end's original to the other's, where anything lies between them."""
    if max(end[0] - start[0], end[1] - start[1]) > 0.5:
        axes.annotate(
            "", end, start, arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.2}
        )
