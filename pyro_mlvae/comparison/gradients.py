"""How noisy and how biased a gradient is: moments of its draws, against a reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_mlvae.comparison.parts import Piece
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import mixed_seed

# A deviation is taken for rounding below so many times the loss's own.
_ROUNDING = 10.0


@dataclass(frozen=True)
class Draw:
    """One draw of an estimator.

    Attributes:
        loss: minus the estimate, in nats, at scale 1.
        gradients: of the loss, for each part that has parameters, flat, in float64.
    """

    loss: float
    gradients: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Reference:
    """What the mean gradient of one part should be, along one direction.

    Attributes:
        direction: a unit vector, or None where the reference gradient vanishes.
        mean: the mean gradient along it.
        variance: the variance of that mean, 0 where it is exact.
    """

    direction: Tensor | None
    mean: float = 0.0
    variance: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """What is reported of the gradient of one part; None is what is not defined.

    Attributes:
        variance: the trace of the covariance of one draw.
        snr: the norm of the mean over the root of that trace.
        bias_z: the mean's deviation along the reference, in standard errors of the two.
    """

    variance: float | None
    snr: float | None
    bias_z: float | None


def draw_gradients(
    estimator: ELBO,
    model: nn.Module,
    guide: nn.Module,
    batch: GroupedBatch,
    parts: Mapping[str, Sequence[Piece]],
    count: int,
    *,
    seed: int,
) -> Iterator[Draw]:
    """``count`` draws of the estimator and of its gradient, at weights that do not move.

    The random state and the parameter store of the caller are left as they were.
    """
    devices = [batch.x.device] if batch.x.device.type == "cuda" else []
    for number in range(count):
        model.zero_grad()
        guide.zero_grad()
        with torch.random.fork_rng(devices), pyro.get_param_store().scope():
            torch.manual_seed(mixed_seed(seed, number))
            loss = float(estimator.loss_and_grads(model, guide, batch))  # type: ignore[attr-defined]
        yield Draw(loss, collect_gradients(parts))


def collect_gradients(parts: Mapping[str, Sequence[Piece]]) -> dict[str, Tensor]:
    """What the last backward pass left, flat and in float64, for each part that has parameters."""
    return {
        part: torch.cat([piece.gradient() for piece in pieces])
        for part, pieces in parts.items()
        if pieces
    }


class Moments:
    """Mean and total variance of vectors that arrive one at a time, and of their projections.

    Args:
        direction: a unit vector on which they are projected as well.

    Sums are those of deviations from the first vector, so that a small variance about a large mean
    is not lost to rounding.

    >>> moments = Moments()
    >>> for vector in ([1.0, 2.0], [3.0, 2.0]):
    ...     moments.add(torch.tensor(vector))
    >>> moments.mean, moments.variance
    (tensor([2., 2.]), 2.0)
    """

    def __init__(self, direction: Tensor | None = None) -> None:
        self.count = 0
        self.projections: list[float] = []
        self._direction = direction
        self._squares = 0.0

    def add(self, vector: Tensor) -> None:
        """Take one more vector into account."""
        if not self.count:
            self._first, self._sum = vector, torch.zeros_like(vector)
        deviation = vector - self._first
        self.count += 1
        self._sum += deviation
        self._squares += float(deviation.square().sum())
        if self._direction is not None:
            self.projections.append(float(vector @ self._direction))

    @property
    def mean(self) -> Tensor:
        """The mean vector."""
        return self._first + self._sum / self.count

    @property
    def variance(self) -> float:
        """The trace of the unbiased estimate of the covariance."""
        return max(0.0, self._squares - float(self._sum.square().sum()) / self.count) / (
            self.count - 1
        )


def reference_from(draws: Iterable[Draw], count: int) -> dict[str, Reference]:
    """References from ``count`` independent draws of an unbiased estimator of the same objective.

    The first half gives the direction and the second the mean along it: were they the same draws,
    their noise would make the reference longer than it is.
    """
    first: dict[str, Moments] = {}
    second: dict[str, Moments] = {}
    for number, draw in enumerate(draws):
        for part, gradient in draw.gradients.items():
            if number < count // 2:
                first.setdefault(part, Moments()).add(gradient)
            else:
                if part not in second:
                    second[part] = Moments(unit(first[part].mean))
                second[part].add(gradient)
    return {part: _reference(moments) for part, moments in second.items()}


def exact_reference(gradients: Mapping[str, Tensor]) -> dict[str, Reference]:
    """References that are known exactly."""
    return {part: Reference(unit(g), float(g.norm())) for part, g in gradients.items()}


def unit(vector: Tensor) -> Tensor | None:
    """The vector's direction, or None where it is zero."""
    norm = vector.norm()
    return vector / norm if float(norm) > 0.0 else None


def gradient_statistics(moments: Moments, reference: Reference, rounding: float) -> Statistics:
    """What is reported of the gradient of one part.

    Args:
        moments: of its draws, projected on the direction of the reference.
        reference: what their mean should be.
        rounding: a standard deviation that is taken for zero: that of rounding alone.

    Returns:
        A gradient that never varies has variance 0, and no ratio or z: they are None.
    """
    variance = moments.variance
    if not math.isfinite(variance):
        return Statistics(None, None, None)
    if math.sqrt(variance) <= rounding:
        return Statistics(0.0, None, None)
    # The squared norm of a mean of draws is too large by the variance of that mean.
    signal = max(0.0, float(moments.mean.square().sum()) - variance / moments.count)
    z = None
    if moments.projections:
        along = torch.tensor(moments.projections, dtype=torch.float64)
        squared_error = float(along.var()) / moments.count + reference.variance
        if squared_error > (rounding**2) / moments.count:
            z = (float(along.mean()) - reference.mean) / math.sqrt(squared_error)
    return Statistics(variance, math.sqrt(signal / variance), z)


def rounding_of(loss: float, dtype: torch.dtype) -> float:
    """A deviation of a gradient that can be rounding alone, where the loss is of that size."""
    return _ROUNDING * torch.finfo(dtype).eps * max(1.0, abs(loss))


def _reference(moments: Moments) -> Reference:
    if not moments.projections:
        return Reference(None)
    along = torch.tensor(moments.projections, dtype=torch.float64)
    return Reference(moments._direction, float(along.mean()), float(along.var()) / moments.count)
