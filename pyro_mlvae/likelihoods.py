"""Likelihoods: from the decoder's outputs to the distribution of x."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.ops.distributions import LogVarianceNormal
from pyro_mlvae.ops.nodes import tanh


class Likelihood(ABC):
    """How the values of x are distributed, independently, given what the decoder says of them.

    Attributes:
        outputs: how many parameters per value of x the decoder gives.
        units: what log densities are measured in: "nats", or "pseudo-nats" where it is no density.
    """

    outputs: ClassVar[int] = 1
    units: ClassVar[str] = "nats"

    @abstractmethod
    def __call__(self, *parameters: Tensor) -> TorchDistributionMixin:
        """The distribution of x, element by element, from ``outputs`` tensors of x's shape."""

    def check(self, x: Tensor) -> None:  # noqa: B027 (any x will do, unless a subclass says more)
        """Raise :class:`InputError` where this likelihood can give no value to ``x``."""


@dataclass(frozen=True)
class NormalLikelihood(Likelihood):
    """Normal with one fixed scale for every value of x.

    >>> NormalLikelihood(scale=0.1)(torch.zeros(2, 3)).stddev.unique()
    tensor([0.1000])
    """

    scale: float = 0.2

    def __post_init__(self) -> None:
        if not self.scale > 0.0:
            raise InputError(f"the scale of a Normal likelihood must be positive, got {self.scale}")

    def __call__(self, *parameters: Tensor) -> TorchDistributionMixin:
        (loc,) = parameters
        return LogVarianceNormal(loc, loc.new_full((), 2.0 * math.log(self.scale)))


@dataclass(frozen=True)
class LearnedNormalLikelihood(Likelihood):
    """Normal whose scale the decoder gives value by value: the paper's.

    The log variance goes through tanh, which keeps it in [-1, 1], and the scale in [0.61, 1.65].
    """

    outputs: ClassVar[int] = 2

    def __call__(self, *parameters: Tensor) -> TorchDistributionMixin:
        loc, raw = parameters
        return LogVarianceNormal(loc, tanh(raw))


class GreyBernoulli(dist.Bernoulli):
    """Bernoulli whose cross-entropy is defined on the whole of [0, 1], where it is no density."""

    support = constraints.unit_interval


@dataclass(frozen=True)
class BernoulliLikelihood(Likelihood):
    """Bernoulli; grey values in [0, 1] are taken as probabilities, in pseudo-nats.

    For grey x the cross-entropy does not integrate to one: it ranks models of the same data, and
    is not to be compared with any density.
    """

    units: ClassVar[str] = "pseudo-nats"

    def __call__(self, *parameters: Tensor) -> TorchDistributionMixin:
        (logits,) = parameters
        return GreyBernoulli(logits=logits)

    def check(self, x: Tensor) -> None:
        _check_unit_interval("Bernoulli", x)


@dataclass(frozen=True)
class ContinuousBernoulliLikelihood(Likelihood):
    """Continuous Bernoulli: the Bernoulli cross-entropy, normalised to a density on [0, 1].

    Reference: Loaiza-Ganem, Cunningham (2019), arXiv 1907.06845.
    """

    def __call__(self, *parameters: Tensor) -> TorchDistributionMixin:
        (logits,) = parameters
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
