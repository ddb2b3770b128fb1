r"""Whether gradients point where they should: their angle to a direction that is known exactly.

.. math:: \cos = E\left[\frac{g \cdot u}{\lVert g \rVert}\right], \qquad
    \text{directional signal-to-noise} =
    E\left[\frac{\lvert g \cdot u \rvert}{\lVert g - (g \cdot u) u \rVert}\right]

with u the unit vector along the exact gradient.

Reference: Rainforth et al. (2018), arXiv 1802.04537, section 4.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor


class Alignment:
    """Means over gradients that arrive one at a time.

    Args:
        direction: the exact gradient's, a unit vector, or None where there is no such.

    >>> import torch
    >>> alignment = Alignment(torch.tensor([1.0, 0.0]))
    >>> for gradient in ([3.0, 4.0], [3.0, -4.0]):
    ...     alignment.add(torch.tensor(gradient))
    >>> round(alignment.cosine, 3), round(alignment.directional_snr, 3)
    (0.6, 0.75)
    """

    def __init__(self, direction: Float[Tensor, " size"] | None) -> None:
        self._direction = direction
        self._cosines: list[float] = []
        self._ratios: list[float] = []

    def add(self, gradient: Float[Tensor, " size"]) -> None:
        """Take one more gradient into account."""
        if self._direction is None:
            return
        along = float(gradient @ self._direction)
        across = float((gradient - along * self._direction).norm())
        length = math.hypot(along, across)
        if length > 0.0:
            self._cosines.append(along / length)
        if across > 0.0:
            self._ratios.append(abs(along) / across)

    @property
    def cosine(self) -> float | None:
        """Of the angle to the exact gradient, from -1 to 1; None where it is not defined."""
        return _mean(self._cosines)

    @property
    def directional_snr(self) -> float | None:
        """The length along the exact gradient over that across; None where it is not defined."""
        return _mean(self._ratios)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
