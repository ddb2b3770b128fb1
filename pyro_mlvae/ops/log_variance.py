"""A Normal by the log of its variance, whose density is one node of autograd's graph."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class LogVarianceNormal(dist.Normal):
    """A Normal by the log of its variance, quick to evaluate and to differentiate.

    Networks give logs of scales, and products of Normals logs of variances; a plain Normal takes
    the exponential of them for its scale, and then the logarithm of that for its density. What this
    saves in a step is measured by ``make bench``.

    Args:
        loc: its location.
        log_variance: the log of its variance.

    >>> LogVarianceNormal(torch.zeros(3), torch.zeros(3)).log_prob(torch.ones(3))
    tensor([-1.4189, -1.4189, -1.4189])
    """

    arg_constraints = {"loc": constraints.real, "log_variance": constraints.real}  # noqa: RUF012

    def __init__(
        self, loc: Tensor, log_variance: Tensor, validate_args: bool | None = None
    ) -> None:
        self.loc, self.log_variance = torch.broadcast_tensors(loc, log_variance)
        TorchDistribution.__init__(self, self.loc.shape, validate_args=validate_args)

    @property
    def scale(self) -> Tensor:  # type: ignore[override]
        return (0.5 * self.log_variance).exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogVarianceNormal:
        if batch_shape == self.batch_shape:
            return self
        loc, log_variance = self.loc.expand(batch_shape), self.log_variance.expand(batch_shape)
        new = LogVarianceNormal(loc, log_variance, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value``, in nats, element by element."""
        if self._validate_args:
            self._validate_sample(value)
        inputs = torch.broadcast_tensors(value, self.loc, self.log_variance)
        return _LogDensity.apply(*inputs)[0]


class _LogDensity(torch.autograd.Function):
    """log N(x; loc, exp(log_variance)), with a gradient of few passes over x.

    Of a step on images the passes over x's size, each through the whole of memory, are a large part
    of what is not matrix products.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, loc: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        difference = x - loc
        weighted = difference / log_variance.exp()
        doubled = torch.addcmul(log_variance, difference, weighted)
        return torch.rsub(doubled, -0.5 * math.log(2.0 * math.pi), alpha=0.5), difference, weighted

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, difference, weighted = output
        ctx.mark_non_differentiable(difference, weighted)
        ctx.save_for_backward(*inputs, difference, weighted)
        ctx.save_for_forward(difference, weighted)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, loc, log_variance, difference, weighted = ctx.saved_tensors
        if torch.is_grad_enabled():
            # The gradient is to be differentiated in its turn.
            difference = x - loc
            weighted = difference / log_variance.exp()
        of_x, of_loc, of_log_variance = ctx.needs_input_grad
        by_loc = grads[0] * weighted if of_x or of_loc else None
        by_log_variance = None
        if of_log_variance:
            half = grads[0].new_full((), -0.5)
            by_log_variance = torch.addcmul(half, difference, weighted, value=0.5) * grads[0]
        return -by_loc if of_x and by_loc is not None else None, by_loc, by_log_variance

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, None, None]:
        difference, weighted = ctx.saved_tensors
        of_x, of_loc, of_log_variance = (
            0.0 if tangent is None else tangent for tangent in tangents
        )
        change = (of_loc - of_x) * weighted + 0.5 * (difference * weighted - 1.0) * of_log_variance
        return torch.as_tensor(change), None, None
