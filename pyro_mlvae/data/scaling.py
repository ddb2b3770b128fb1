"""How x is scaled for the networks: a shift and a unit, found in the training part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.ranges import FILLED, LARGEST, value_range
from pyro_mlvae.errors import InputError

NONE, STANDARD, RANGE = KINDS = ("none", "standard", "range")
# A feature that varies by less than this part of its mean is constant, as far as float32 can tell.
_CONSTANT = 1e-6
# The inverse of the square of what is smaller is infinite in float32, or nearly.
_SMALLEST = 1.0 / LARGEST
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Scaling:
    """The scaling ``z = (x - shift) / unit``: networks compute with z, all else with x.

    Attributes:
        kind: "none"; "standard", where every feature of z has mean 0 and standard deviation 1; or
            "range", where all of z lies in [0, 1].
        shift: in units of x, ``[*event_shape]`` or a scalar.
        unit: likewise, positive.
        mean: the mean of every value of x, ``[*event_shape]``, which the encoder is given where a
            value is missing; None where none may be.
        rate: the mean of every value of x where it is counts, at which their likelihood starts.

    Raises:
        InputError: the kind is unknown, or a unit is not positive and finite.
    """

    kind: str
    shift: Tensor
    unit: Tensor
    mean: Tensor | None = None
    rate: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"the kind of a scaling must be one of {', '.join(KINDS)}, got {self.kind!r}"
            )
        if not (self.unit.isfinite() & (self.unit > 0.0)).all():
            raise InputError(
                "the units of a scaling must be positive and finite: leave constant ones at 1"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """z, on the device of x; a missing value is the mean of its feature."""
        # float16 has no room for differences of its own numbers.
        x = x.to(torch.promote_types(x.dtype, self.unit.dtype))
        mean = None if self.mean is None else self.mean.to(x)
        return scaled(x, self.shift.to(x), self.unit.to(x), mean)

    @classmethod
    def identity(cls) -> Scaling:
        """That of x which needs none."""
        return cls(NONE, torch.zeros(()), torch.ones(()))

    @property
    def is_identity(self) -> bool:
        """Whether the networks see x as it is, and no value may be missing."""
        return self.kind == NONE and self.mean is None


def scaled(x: Tensor, shift: Tensor, unit: Tensor, mean: Tensor | None) -> Tensor:
    """``(x - shift) / unit``, with ``mean`` where x is NaN."""
    if mean is not None:
        x = x.where(~x.isnan(), mean)
    return (x - shift) / unit


def scaling_of(train: GroupedDataset, *, missing: bool = False, rescale: bool = True) -> Scaling:
    """How x is to be scaled, from the observations that training sees.

    Args:
        train: the training part. Vectors, observations of one dimension, are standardised feature
            by feature; a constant feature, one that varies by less than 1e-6 of its mean, has the
            median unit of the others, or 1 where all are constant. Images that lie in [0, 1] and
            fill half of it stay as they are, also as uint8, whose ``observations()`` are in [0, 1].
            The range of other images is mapped to [0, 1], alike for all pixels; it is that of at
            most 10,000 of them.
        missing: whether NaN in x marks a missing value; those are left out of all moments.
        rescale: False for a likelihood that takes x as it is.

    Raises:
        InputError: x, or the unit of a feature, is too large or too small to be squared in float32.

    >>> data = GroupedDataset.from_arrays([[1.0, 5.0], [3.0, 5.0]], ["ann", "bob"])
    >>> scaling = scaling_of(data)
    >>> scaling.kind, scaling.shift, scaling.unit
    ('standard', tensor([2., 5.]), tensor([1., 1.]))
    """
    dtype = torch.get_default_dtype()
    shift, unit, mean = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype), None
    standard = rescale and len(train.event_shape) == 1
    if standard or missing:
        own_mean, scale, low, high = _moments(train)
        mean = own_mean.to(dtype) if missing else None
        if standard:
            constant = scale <= _CONSTANT * own_mean.abs()
            varying = scale[~constant]
            # Of the others, so that the networks see the same x in whatever unit it is given.
            stand_in = varying.median() if len(varying) else unit.double()
            units = torch.where(constant, stand_in, scale)
            _require_moderate(low, high, units, train.feature_names)
            return Scaling(STANDARD, own_mean.to(dtype), units.to(dtype), mean)
    least, largest = value_range(train)
    filled = least >= 0.0 and largest <= 1.0 and largest - least >= FILLED
    as_it_is = not rescale or filled or least == largest
    width = 1.0 if as_it_is else largest - least
    _require_moderate(*torch.tensor([[least], [largest], [width]], dtype=torch.float64))
    if as_it_is:
        return Scaling(NONE, shift, unit, mean)
    return Scaling(RANGE, shift + least, unit * width, mean)


def mean_of_values(data: GroupedDataset) -> Tensor:
    """The mean of every value of x over the observations that have it, ``[*event_shape]``.

    >>> mean_of_values(GroupedDataset.from_arrays([[1.0, 5.0], [3.0, 5.0]], ["ann", "bob"]))
    tensor([2., 5.])
    """
    return _moments(data)[0].to(torch.get_default_dtype())


def _moments(data: GroupedDataset) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, standard deviation, least and largest of every value of x, in float64; 0 if unseen."""
    count, mean, squares = torch.zeros(3, *data.event_shape, dtype=torch.float64)
    low, high = torch.full_like(mean, math.inf), torch.full_like(mean, -math.inf)
    # Chunks are joined as by Chan, Golub, LeVeque (1983): sums of squares would lose what is far
    # from 0.
    for index in torch.arange(len(data)).split(_CHUNK):
        x = data.observations(index).cpu().double()
        here = (~x.isnan()).sum(0)
        own = x.nansum(0) / here.clamp(min=1)
        total = count + here
        change, share = own - mean, here / total.clamp(min=1)
        squares += (x - own).square().nansum(0) + change.square() * count * share
        mean += change * share
        count = total
        low = torch.minimum(low, x.nan_to_num(nan=math.inf).amin(0))
        high = torch.maximum(high, x.nan_to_num(nan=-math.inf).amax(0))
    return mean, (squares / count.clamp(min=1)).sqrt(), low, high


def _require_moderate(low: Tensor, high: Tensor, unit: Tensor, names: Sequence[str] = ()) -> None:
    """Raise :class:`InputError` where x cannot be squared in float32, as a density does."""
    size = torch.maximum(low.abs(), high.abs())
    wrong = size.isfinite() & ((size > LARGEST) | ~(unit >= _SMALLEST))
    if wrong.any():
        first = int(wrong.nonzero()[0])
        where = (
            f"column {names[first]!r}" if names else "x" if len(wrong) == 1 else f"feature {first}"
        )
        raise InputError(
            f"x must be in units in which its size is between {_SMALLEST:g} and {LARGEST:g}, as it "
            f"is squared in float32, but {where} has values from {low[first]:.4g} to "
            f"{high[first]:.4g}: give it in other units"
        )
