"""Bernoulli likelihoods, of x in [0, 1]."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from pyro_mlvae.errors import InputError
from pyro_mlvae.likelihoods.base import Likelihood


class GreyBernoulli(dist.Bernoulli):
    """Bernoulli whose cross-entropy is defined on the whole of [0, 1], where it is no density."""

    support = constraints.unit_interval


class BernoulliLikelihood(Likelihood):
    """Bernoulli; grey values in [0, 1] are taken as probabilities, in pseudo-nats.

    For grey x the cross-entropy does not integrate to one: it ranks models of the same data, and
    is not to be compared with any density.
    """

    units = "pseudo-nats"
    unit_interval = True

    def forward(self, logits: Tensor) -> TorchDistributionMixin:
        """The distribution of x, element by element."""
        return GreyBernoulli(logits=logits)

    def check(self, x: Tensor) -> None:
        super().check(x)
        _check_unit_interval("Bernoulli", x)


class ContinuousBernoulliLikelihood(Likelihood):
    """Continuous Bernoulli: the Bernoulli cross-entropy, normalised to a density on [0, 1].

    Reference: Loaiza-Ganem, Cunningham (2019), arXiv 1907.06845.
    """

    unit_interval = True

    def forward(self, logits: Tensor) -> TorchDistributionMixin:
        """The distribution of x, element by element."""
        return dist.ContinuousBernoulli(logits=logits)

    def check(self, x: Tensor) -> None:
        super().check(x)
        _check_unit_interval("continuous Bernoulli", x)


def _check_unit_interval(name: str, x: Tensor) -> None:
    low, high = torch.aminmax(x)
    if low < 0.0 or high > 1.0:
        raise InputError(
            f"a {name} likelihood takes x in [0, 1], got values from {float(low):.4g} to "
            f"{float(high):.4g}: rescale x, or choose a normal likelihood"
        )
