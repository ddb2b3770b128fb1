"""Likelihoods: from the decoder's outputs to the distribution of x."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.ops import LogVarianceNormal


class Likelihood(nn.Module):
    """How x is distributed, given what the decoder says of it: a module, so it may have parameters.

    A subclass defines ``forward(*parameters)``, from ``outputs`` tensors ``[..., *event_shape]`` to the
    distribution of x. Dimensions of x that are not in its event shape are taken for independent, so an
    element-wise distribution will do, and so will a joint one.

    Attributes:
        outputs: how many parameters per value of x the decoder gives.
        units: what log densities are measured in: "nats", or "pseudo-nats" where it is no density.
    """

    outputs: int = 1
    units: str = "nats"

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` where this likelihood can give no value to ``x``."""


class NormalLikelihood(Likelihood):
    """Normal with one fixed scale for every value of x.

    Args:
        scale: its standard deviation.

    Raises:
        InputError: the scale is not positive.

    >>> NormalLikelihood(scale=0.1)(torch.zeros(2, 3)).stddev.unique()
    tensor([0.1000])
    """

    def __init__(self, scale: float = 0.2) -> None:
        super().__init__()
        if not scale > 0.0:
            raise InputError(f"the scale of a Normal likelihood must be positive, got {scale}")
        self.scale = scale

    def forward(self, loc: Tensor) -> TorchDistributionMixin:
        """N(loc, scale), element by element."""
        return LogVarianceNormal(loc, loc.new_full((), 2.0 * math.log(self.scale)))

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


class LearnedNormalLikelihood(Likelihood):
    """Normal whose scale the decoder gives value by value: the paper's.

    The log variance goes through tanh, which keeps it in [-1, 1], and the scale in [0.61, 1.65].
    """

    outputs = 2

    def forward(self, loc: Tensor, raw: Tensor) -> TorchDistributionMixin:
        """N(loc, exp(tanh(raw) / 2)), element by element."""
        return LogVarianceNormal(loc, raw.tanh())


class GreyBernoulli(dist.Bernoulli):
    """Bernoulli whose cross-entropy is defined on the whole of [0, 1], where it is no density."""

    support = constraints.unit_interval


class BernoulliLikelihood(Likelihood):
    """Bernoulli; grey values in [0, 1] are taken as probabilities, in pseudo-nats.

    For grey x the cross-entropy does not integrate to one: it ranks models of the same data, and
    is not to be compared with any density.
    """

    units = "pseudo-nats"

    def forward(self, logits: Tensor) -> TorchDistributionMixin:
        """The distribution of x, element by element."""
        return GreyBernoulli(logits=logits)

    def check(self, x: Tensor) -> None:
        _check_unit_interval("Bernoulli", x)


class ContinuousBernoulliLikelihood(Likelihood):
    """Continuous Bernoulli: the Bernoulli cross-entropy, normalised to a density on [0, 1].

    Reference: Loaiza-Ganem, Cunningham (2019), arXiv 1907.06845.
    """

    def forward(self, logits: Tensor) -> TorchDistributionMixin:
        """The distribution of x, element by element."""
        return dist.ContinuousBernoulli(logits=logits)

    def check(self, x: Tensor) -> None:
        _check_unit_interval("continuous Bernoulli", x)


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "normal": NormalLikelihood,
    "normal-learned": LearnedNormalLikelihood,
    "bernoulli": BernoulliLikelihood,
    "continuous-bernoulli": ContinuousBernoulliLikelihood,
}


def make_likelihood(name: str) -> Likelihood:
    """The likelihood of that name.

    Raises:
        InputError: the name is not known.

    >>> make_likelihood("bernoulli").units
    'pseudo-nats'
    """
    if name not in LIKELIHOODS:
        raise unknown_name("likelihood", name, LIKELIHOODS)
    return LIKELIHOODS[name]()


def _check_unit_interval(name: str, x: Tensor) -> None:
    low, high = torch.aminmax(x)
    if low < 0.0 or high > 1.0:
        raise InputError(
            f"a {name} likelihood takes x in [0, 1], got values from {float(low):.4g} to "
            f"{float(high):.4g}: rescale x, or choose a normal likelihood"
        )
