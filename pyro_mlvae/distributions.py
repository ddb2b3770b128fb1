"""A Normal by the log of its variance."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class LogVarianceNormal(dist.Normal):
    """A Normal that takes the log of its variance as it comes, and is quick to evaluate and differentiate.

    Args:
        loc: its location.
        log_variance: the log of its variance.

    >>> LogVarianceNormal(torch.zeros(3), torch.zeros(3)).log_prob(torch.ones(3))
    tensor([-1.4189, -1.4189, -1.4189])
    """

    arg_constraints = {"loc": constraints.real, "log_variance": constraints.real}  # noqa: RUF012

    def __init__(self, loc: Tensor, log_variance: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.log_variance = _broadcast(loc, log_variance)
        TorchDistribution.__init__(self, self.loc.shape, validate_args=validate_args)

    @cached_property
    def scale(self) -> Tensor:  # type: ignore[override]
        """The standard deviation."""
        return (0.5 * self.log_variance).exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogVarianceNormal:
        """The same distribution, repeated to ``batch_shape``."""
        if batch_shape == self.batch_shape:
            return self
        return LogVarianceNormal(
            self.loc.expand(batch_shape), self.log_variance.expand(batch_shape), validate_args=False
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value``, in nats, element by element."""
        if self._validate_args:
            self._validate_sample(value)
        density: Tensor = _LogDensity.apply(*_broadcast(value, self.loc, self.log_variance))
        return density


class _LogDensity(torch.autograd.Function):
    """log N(x; loc, exp(log_variance)), which of x's size keeps two tensors for its gradient, no more.

    Of a step on images the passes over x's size, each through the whole of memory, are a large part of
    what is not matrix products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, loc: Tensor, log_variance: Tensor) -> Tensor:
        difference = x - loc
        weighted = log_variance.neg().exp_().mul_(difference)
        ctx.save_for_backward(x, loc, log_variance, difference, weighted)
        # -0.5 * (log_variance + difference * weighted) - 0.5 * log(2 pi)
        doubled = torch.addcmul(log_variance, difference, weighted)
        return torch.rsub(doubled, -_HALF_LOG_TWO_PI, alpha=0.5)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, loc, log_variance, difference, weighted = ctx.saved_tensors
        if torch.is_grad_enabled():
            # The gradient is to be differentiated in its turn.
            difference = x - loc
            weighted = difference * (-log_variance).exp()
        of_x, of_loc, of_log_variance = ctx.needs_input_grad
        by_loc = grad * weighted if of_x or of_loc else None
        return (
            -by_loc if of_x and by_loc is not None else None,
            by_loc if of_loc else None,
            _half_product(grad, difference, weighted) if of_log_variance else None,
        )


def _half_product(grad: Tensor, difference: Tensor, weighted: Tensor) -> Tensor:
    """``0.5 * grad * (difference * weighted - 1)``, in two passes."""
    zero = grad.new_zeros(())
    return torch.addcmul(zero, grad, torch.addcmul(zero - 1.0, difference, weighted), value=0.5)


def _broadcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors in one shape, at no cost where they are."""
    first = tensors[0].shape
    return (
        tensors if all(tensor.shape == first for tensor in tensors) else torch.broadcast_tensors(*tensors)
    )
