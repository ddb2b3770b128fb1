"""What values x has: whether they are on the scale of training, too dark, or surely counts."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.mapped import DividedRows, Rows
from pyro_mlvae.errors import InputError

# The range of x is that of at most so many observations: the data may be larger than memory.
MOST_RANGED = 10_000
# Fewer observations may be alike without being on another scale.
_TELLING = 10
# The square of what is larger is infinite in float32, or nearly.
LARGEST = 1e18
# So many values say where a range ends.
_MANY = 1000
# Ranges that pixels do not leave.
_PIXELS = ((0.0, 1.0), (0.0, 255.0))
# Images in [0, 1] that fill at least this much of it are left as they are.
FILLED = 0.5
# Answers on a scale of a few steps, and true and false, are no counts of anything.
_LEAST_LARGEST = 10


def value_range(data: GroupedDataset) -> tuple[float, float]:
    """The least and the largest value of x over at most 10,000 observations; NaN is left out."""
    x = data.sample(MOST_RANGED).observations()
    return _range(x)


def is_uint8(data: GroupedDataset) -> bool:
    """Whether x is kept as uint8, which ``observations()`` takes for pixels, in [0, 1]."""
    return data.x.dtype == torch.uint8


def as_in_training(
    name: str, data: GroupedDataset, trained: tuple[float, float], uint8: bool
) -> GroupedDataset:
    """The data with x on the scale of training.

    Whole numbers from 0 to 255 are scaled to [0, 1] where training had uint8. Where training had
    other numbers, beyond [0, 1], uint8 is taken for numbers too. What is on disk is scaled as it is
    read.

    Args:
        name: what the data is called, for the error.
        data: observations of the shape of training's.
        trained: the range of x in training, as :func:`value_range` gives it.
        uint8: whether x was uint8 in training.

    Raises:
        InputError: x is on another scale, see :func:`_is_on_another_scale`.

    >>> x = torch.tensor([[0.0, 255.0], [51.0, 102.0]])
    >>> data = GroupedDataset.from_arrays(x, ["ann", "bob"])
    >>> as_in_training("new", data, trained=(0.0, 1.0), uint8=True).x
    tensor([[0.0000, 1.0000],
            [0.2000, 0.4000]])
    >>> as_in_training("new", data, trained=(0.0, 1.0), uint8=False)
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: new has values from 0 to 255, but training had values from
        0 to 1: rescale it to that range
    """
    is_numbers = is_uint8(data) and not uint8 and trained[1] > 1.0
    if is_numbers or (uint8 and not is_uint8(data) and _are_pixels(data)):
        data = replace(data, x=_divided(data.x, 1.0 if is_numbers else 255.0))
    x = data.sample(MOST_RANGED).observations()
    if _is_on_another_scale(x, trained, uint8) or (is_uint8(data) and trained[0] < 0.0):
        low, high = _range(x)
        raise InputError(
            f"{name} has values from {low:.4g} to {high:.4g}, but training had values from "
            f"{trained[0]:.4g} to {trained[1]:.4g}: rescale it to that range"
        )
    return data


def _divided(x: Tensor | Rows, divisor: float) -> Tensor | Rows:
    if isinstance(x, Rows):
        return DividedRows(x, divisor)
    return x.to(torch.promote_types(x.dtype, torch.get_default_dtype())) / divisor


def _is_on_another_scale(x: Tensor, trained: tuple[float, float], uint8: bool) -> bool:
    """Whether x differs from training in a way that no sample of it would.

    Any of these: more than half of the observations have values outside of the range of training by
    more than half its width (of fewer than 10 observations, which may be unusual, by five times the
    width). More than a tenth of all values leave, by a tenth of the width, bounds that training
    has: a least of exactly 0, and [0, 1] or 0..255 where it fills them. All values of 10
    observations or more fill less than a tenth of the range. Pixels of -1..1 begin at exactly 0,
    which is none of theirs. Or a single value is too large to be squared in float32.
    """
    (low, high), (least, largest) = _range(x), trained
    width, few = largest - least, len(x) < _TELLING
    if width == 0.0:
        return False
    margin = width * (5.0 if few else 0.5)
    outside = (x < least - margin) | (x > largest + margin)
    floor = 0.0 if uint8 or least == 0.0 else -math.inf
    ceiling = 1.0 if uint8 else largest if trained in _PIXELS else math.inf
    beyond = (x < floor - width / 10.0) | (x > ceiling + width / 10.0)
    return (
        max(-low, high) > LARGEST
        or bool(outside.flatten(1).any(1).double().mean() > 0.5)
        or bool(beyond.double().mean() > 0.1)
        or (not few and 0.0 < high - low < width / 10.0)
        or (trained == (-1.0, 1.0) and low == 0.0 and high <= 1.0 and x.numel() >= _MANY)
    )


def require_bright(likelihood: str, data: GroupedDataset) -> None:
    """Raise :class:`InputError` for uint8 x that fills less than half of 0..255, for one in [0, 1].

    Pixels of 0..16, or of 0 and 1, would all be black.
    """
    low, high = value_range(data)
    if is_uint8(data) and high < FILLED:
        raise InputError(
            f"the likelihood {likelihood!r} takes uint8 x for pixels from 0 to 255, got "
            f"{255.0 * low:.0f} to {255.0 * high:.0f}, all of them dark: scale x to 0..255, or "
            "choose the likelihood 'normal'"
        )


def looks_like_counts(data: GroupedDataset) -> bool:
    """Whether x are vectors of whole numbers from 0 upward that are spread as counts are.

    It is said only where it is sure: 0 is the most frequent value, 1 the next, each by a tenth, as
    in pixels and marks they are not; the largest is at least 10; and in most of the features the
    variance is above the mean. At most 10,000 observations are read.

    >>> import torch
    >>> counts = torch.distributions.NegativeBinomial(0.3, torch.tensor(0.9)).sample((100, 5))
    >>> looks_like_counts(GroupedDataset.from_arrays(counts, [0] * 100))
    True
    >>> looks_like_counts(GroupedDataset.from_arrays(counts / 2, [0] * 100))
    False
    """
    if len(data.event_shape) != 1 or not data.x.dtype.is_floating_point:
        return False
    x = data.sample(MOST_RANGED).observations().double()
    values, times = x[~x.isnan()].unique(return_counts=True)
    whole = values[0] >= 0.0 and bool((values == values.floor()).all())
    if not whole or values[:2].tolist() != [0.0, 1.0] or values[-1] < _LEAST_LARGEST:
        return False
    variance, mean = x.nan_to_num().var(0), x.nan_to_num().mean(0)
    spread = (variance > mean)[mean > 0.0].double().mean() > 0.5
    falling = times[0] > 1.1 * times[1] > 1.1**2 * times[2:].max()
    return bool(falling and spread)


def _range(x: Tensor) -> tuple[float, float]:
    if x.isnan().any():
        x = x[~x.isnan()]
    low, high = torch.aminmax(x)
    return float(low), float(high)


def _are_pixels(data: GroupedDataset) -> bool:
    """Whether x holds whole numbers from 0 to 255, and more of them than 0 and 1."""
    x = data.sample(MOST_RANGED).observations()
    low, high = _range(x)
    return low >= 0.0 and 1.0 < high <= 255.0 and bool(((x == x.round()) | x.isnan()).all())
