"""How the observations of a data set look: pictures, line profiles or heat maps, and their scale.

A picture is shown as it is. A vector has no pixels: it is a line through its features, and one of
many features is a map of them, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset

# More features than this make no line that could be read in a cell.
MOST_IN_LINE = 400
# Of so many observations, this share of values at either end may be drawn as if it were less
# extreme.
MANY, TAIL = 400, 0.005
# Fewer do not tell how far a feature reaches.
ENOUGH = 20
PIXELS = torch.tensor(0.0), torch.tensor(1.0)
# Sides of a cell in inches, and how much of an inch a pixel gets between them; pictures wider or
# taller than this are squeezed.
SMALLEST, LARGEST, PIXEL, LONGEST = 0.62, 1.3, 0.016, 4.0
PROFILE = (0.95, 0.62)
# Values of x that are looked at, at most.
MOST_VALUES, MOST_OBSERVATIONS = 4_000_000, 1_000


@dataclass(frozen=True, eq=False)
class Look:
    """How observations are drawn.

    Attributes:
        kind: "picture", "profile" or "heat map".
        low: the value that is drawn darkest, or lowest: one for all, or for each feature of a
            vector.
        high: the value that is drawn brightest, or highest, likewise.
        size: width and height of a cell, in inches.
        note: what a reader of profiles and heat maps has to know; empty for pictures.
        ink: whether pictures are ink on paper, of which 0 is the paper: they are drawn dark on
            light.
    """

    kind: str
    low: Tensor
    high: Tensor
    size: tuple[float, float]
    note: str = ""
    ink: bool = False

    @property
    def colours(self) -> str:
        """The colour map."""
        if self.kind == "picture":
            return "gray_r" if self.ink else "gray"
        return "viridis"

    def array(self, x: Tensor) -> np.ndarray:
        """One observation with values from 0 to 1, NaN where one is missing.

        Returns:
            ``[features]`` for a profile; ``[height, width]`` or ``[height, width, 3]`` for others:
            a heat map has its features row by row, and channels that are not three of colour stand
            side by side.
        """
        x = x.detach().cpu().double()
        values = (x.flatten() - self.low) / (self.high - self.low)
        values = values.clamp(0.0, 1.0).float()
        if self.kind == "profile":
            return values.numpy()
        if self.kind == "heat map":
            return _tiled(values.reshape(-1, 1, 1), gap=0)
        pictures = values.reshape(-1, *x.shape[-2:])
        if x.ndim == 3 and len(pictures) == 3:
            return pictures.permute(1, 2, 0).nan_to_num(0.5).numpy()
        return _tiled(pictures, gap=1)


def look_of(data: GroupedDataset) -> Look:
    """How the observations of ``data`` look: the same for all figures of it.

    >>> from pyro_mlvae import load_dataset
    >>> look = look_of(load_dataset("digits"))
    >>> look.kind, look.ink, look.colours
    ('picture', True, 'gray_r')
    """
    most = min(MOST_OBSERVATIONS, max(10, MOST_VALUES // max(1, data.event_shape.numel())))
    return look_of_values(data.sample(most).observations(), ink=data.ink)


def look_of_shown(originals: Sequence[Tensor], decoded: Tensor, *, ink: bool = False) -> Look:
    """How observations look of which no more is known than what is shown.

    Args:
        originals: ``[n, *event_shape]`` each; they say on which scale pictures are.
        decoded: ``[*batch, *event_shape]``; without originals, decoded pixels may overshoot a
            little, and some far. A few vectors do not tell what others reach, so decoded ones count
            too.
        ink: as for :class:`Look`.
    """
    if originals:
        event = originals[0].shape[1:]
        shown = [x.detach().cpu() for x in originals]
        if _is_vector(event) and not _in_unit_interval(torch.cat(shown)):
            shown.append(decoded.detach().cpu().reshape(-1, *event))
        return look_of_values(torch.cat(shown), ink=ink)
    x = decoded.detach().cpu().flatten(0, 1)
    overshoots = float(((x < -0.2) | (x > 1.2)).float().mean())
    return look_of_values(x.clamp(0.0, 1.0) if overshoots < 0.2 else x, ink=ink)


def look_of_values(x: Tensor, *, ink: bool = False) -> Look:
    """How observations look that are like ``x``, ``[n, *event_shape]``.

    >>> look_of_values(torch.tensor([[0.0, 2.0, -1.0]])).note
    '3 features, from -1 to 2'
    """
    x, event = x.detach().cpu().double(), x.shape[1:]
    features = event.numel()
    if not _is_vector(event):
        low, high = PIXELS if _in_unit_interval(x) else _ends(x.flatten())
        return Look("picture", *_apart(low, high), _picture_size(event), ink=ink)
    kind = "profile" if features <= MOST_IN_LINE else "heat map"
    lows, highs = PIXELS if _in_unit_interval(x) else _ends(x.reshape(len(x), -1))
    low, high = lows.min(), highs.max()
    # Where most features would be flat on the scale of all, each has its own, if there is enough to
    # tell.
    own = len(x) >= ENOUGH and float((highs - lows).median()) < 0.1 * float(high - low)
    low, high = _apart(lows, highs) if own else _apart(low, high)
    reach = "each on its own scale" if own else f"from {float(low):.3g} to {float(high):.3g}"
    count = f"{features:,} feature{'s' if features > 1 else ''}"
    if kind == "profile":
        return Look(kind, low, high, PROFILE, f"{count}, {reach}")
    side = math.ceil(math.sqrt(features))
    note = f"{count} in rows of {side}, {reach}, dark to light"
    return Look(kind, low, high, _picture_size((side, side)), note)


def _is_vector(event_shape: Sequence[int]) -> bool:
    return sum(size > 1 for size in event_shape) < 2


def _in_unit_interval(x: Tensor) -> bool:
    return bool(((x >= 0.0) & (x <= 1.0) | x.isnan()).all())


def _ends(x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value by column, without the tails where there are many."""
    share = TAIL if len(x) >= MANY else 0.0
    x = x[:: math.ceil(x.numel() / MOST_VALUES)]
    low, high = (torch.nanquantile(x, q, dim=0).nan_to_num(0.0) for q in (share, 1.0 - share))
    return low, high


def _apart(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return low, torch.where(high > low, high, low + 1.0)


def _picture_size(event_shape: Sequence[int]) -> tuple[float, float]:
    """Width and height of a cell for pictures, channels that are not of colour side by side."""
    channels = math.prod(event_shape[:-2])
    across = 1 if len(event_shape) == 3 and channels == 3 else math.ceil(math.sqrt(channels))
    down = 1 if across == 1 else math.ceil(channels / across)
    height, width = down * event_shape[-2], across * event_shape[-1]
    side = min(max(PIXEL * math.sqrt(height * width), SMALLEST), LARGEST)
    shape = min(max(width / height, 1.0 / LONGEST), LONGEST)
    return side * math.sqrt(shape), side / math.sqrt(shape)


def _tiled(pictures: Tensor, gap: int) -> np.ndarray:
    """Pictures ``[n, height, width]`` in about as many rows as columns, with nothing between."""
    if len(pictures) == 1:
        return pictures[0].numpy()
    across = math.ceil(math.sqrt(len(pictures)))
    padded = torch.nn.functional.pad(pictures, (0, gap, 0, gap), value=float("nan"))
    missing = -len(padded) % across
    padded = torch.cat([padded, padded.new_full((missing, *padded.shape[1:]), float("nan"))])
    rows = padded.unflatten(0, (-1, across)).transpose(1, 2).flatten(0, 1).flatten(1)
    return rows[: len(rows) - gap, : rows.shape[1] - gap].numpy()
