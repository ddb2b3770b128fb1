"""Normal likelihoods: of one fixed scale, of one learned for each feature, of the decoder's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mlvae.errors import InputError
from pyro_mlvae.likelihoods.base import Likelihood
from pyro_mlvae.ops import LogVarianceNormal

# A learned scale is never smaller: a feature that is known exactly would have an infinite density.
SMALLEST_SCALE = 0.01


class NormalLikelihood(Likelihood):
    """Normal with one fixed scale for every value of x.

    Args:
        scale: its standard deviation.

    Raises:
        InputError: the scale is not positive and finite.

    >>> NormalLikelihood(scale=0.1)(torch.zeros(2, 3)).stddev.unique()
    tensor([0.1000])
    """

    rescales = True

    def __init__(self, scale: float = 0.2) -> None:
        super().__init__()
        if not 0.0 < scale < math.inf:
            raise InputError(
                f"the scale of a Normal likelihood must be positive and finite, got {scale}"
            )
        self.scale = scale

    def forward(self, loc: Tensor) -> TorchDistributionMixin:
        """N(loc, scale), element by element."""
        return LogVarianceNormal(loc, loc.new_full((), 2.0 * math.log(self.scale)))

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class FeatureNormalLikelihood(Likelihood):
    """Normal with one learned scale for each feature, the same for all observations.

    The variance is ``0.01^2 + exp(2 log_scale)``, with a parameter ``log_scale`` that starts at 0.

    Args:
        event_shape: the shape of one observation; ``()`` for one scale of all features.

    >>> FeatureNormalLikelihood((3,))(torch.zeros(2, 3)).stddev[0]
    tensor([1.0000, 1.0000, 1.0000], grad_fn=<SelectBackward0>)
    """

    rescales = True

    def __init__(self, event_shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(tuple(event_shape)))

    def forward(self, loc: Tensor) -> TorchDistributionMixin:
        """N(loc, scale), element by element."""
        smallest = self.log_scale.new_full((), 2.0 * math.log(SMALLEST_SCALE))
        return LogVarianceNormal(loc, torch.logaddexp(2.0 * self.log_scale, smallest))


class LearnedNormalLikelihood(Likelihood):
    """Normal whose scale the decoder gives value by value: the paper's.

    The log variance goes through tanh, which keeps it in [-1, 1], and the scale in [0.61, 1.65].
    """

    outputs = 2
    rescales = True

    def forward(self, loc: Tensor, raw: Tensor) -> TorchDistributionMixin:
        """N(loc, exp(tanh(raw) / 2)), element by element."""
        return LogVarianceNormal(loc, raw.tanh())
