"""A Normal by the log of its variance."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor
from torch.distributions import constraints

from pyro_mlvae.ops.nodes import looked_into
from pyro_mlvae.ops.normals import product_by_log_variance

_NO_SHAPE = torch.Size()
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
        new = type(self).__new__(type(self))
        new.loc, new.log_variance = self.loc.expand(batch_shape), self.log_variance.expand(batch_shape)
        TorchDistribution.__init__(new, new.loc.shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def to_event(self, reinterpreted_batch_ndims: int | None = None) -> TorchDistributionMixin:
        """The same distribution, of events of that many of its last dimensions; by default of all."""
        dims = len(self.batch_shape) if reinterpreted_batch_ndims is None else reinterpreted_batch_ndims
        return IndependentNormal(self, dims) if dims > 0 else super().to_event(dims)

    def rsample(self, sample_shape: Any = _NO_SHAPE) -> Tensor:
        """Draws, differentiable in loc and log variance."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return torch.addcmul(self.loc, noise, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value``, in nats, element by element."""
        return self.log_density(value, 0)

    def log_density(self, value: Tensor, event_dim: int) -> Tensor:
        """The log density at ``value``, in nats, summed over that many of the last dimensions."""
        if self._validate_args:
            self._validate_sample(value)
        x, loc, log_variance = _broadcast(value, self.loc, self.log_variance)
        if looked_into():
            difference = x - loc
            return _minus_half(log_variance + difference.square() / log_variance.exp(), event_dim)
        density: Tensor = _LogDensity.apply(x, loc, log_variance, event_dim)
        return density


class StandardNormal(LogVarianceNormal):
    """N(0, 1), whose density needs no more than squares.

    Args:
        zero: zeros of the batch's shape, which say dtype and device.

    >>> StandardNormal(torch.zeros(2)).to_event(1).log_prob(torch.ones(2))
    tensor(-2.8379)
    """

    def __init__(self, zero: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(zero, zero, validate_args)

    def log_density(self, value: Tensor, event_dim: int) -> Tensor:
        """The log density at ``value``, in nats, summed over that many of the last dimensions."""
        if self._validate_args:
            self._validate_sample(value)
        squares, _ = _broadcast(value * value, self.loc)
        return _minus_half(squares, event_dim)


class IndependentNormal(dist.Independent):
    """``Independent`` over a :class:`LogVarianceNormal`, whose density is summed where it is made."""

    base_dist: LogVarianceNormal

    def expand(self, batch_shape: Any, _instance: Any = None) -> IndependentNormal:
        """The same distribution, repeated to ``batch_shape``."""
        batch_shape = torch.Size(batch_shape)
        if batch_shape == self.batch_shape:
            return self
        base = self.base_dist.expand(batch_shape + self.event_shape)
        return IndependentNormal(base, self.reinterpreted_batch_ndims)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value``, in nats, of every event."""
        return self.base_dist.log_density(value, self.reinterpreted_batch_ndims)


class _LogDensity(torch.autograd.Function):
    """log N(x; loc, exp(log_variance)), which of x's size keeps two tensors for its gradient, no more.

    Of a step on images the passes over x's size, each through the whole of memory, are a large part of
    what is not matrix products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, loc: Tensor, log_variance: Tensor, event_dim: int) -> Tensor:
        difference, weighted = x - loc, log_variance.exp()
        torch.div(difference, weighted, out=weighted)
        ctx.save_for_backward(x, loc, log_variance, difference, weighted)
        ctx.event_dim = event_dim
        doubled = torch.addcmul(log_variance, difference, weighted)
        return _minus_half(doubled, event_dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, loc, log_variance, difference, weighted = ctx.saved_tensors
        if ctx.event_dim:
            grad = grad.reshape(*grad.shape, *[1] * ctx.event_dim)
        if torch.is_grad_enabled():
            # The gradient is to be differentiated in its turn.
            difference = x - loc
            weighted = difference / log_variance.exp()
        of_x, of_loc, of_log_variance, _ = ctx.needs_input_grad
        by_loc = grad * weighted if of_x or of_loc else None
        return (
            -by_loc if of_x and by_loc is not None else None,
            by_loc if of_loc else None,
            _half_product(grad, difference, weighted) if of_log_variance else None,
            None,
        )


def _half_product(grad: Tensor, difference: Tensor, weighted: Tensor) -> Tensor:
    """``0.5 * grad * (difference * weighted - 1)``, in two passes."""
    return torch.addcmul(grad.new_full((), -0.5), difference, weighted, value=0.5).mul_(grad)


def _minus_half(doubled: Tensor, event_dim: int) -> Tensor:
    """The log density of events, from what is minus twice that of its elements, but for a constant."""
    constant = _HALF_LOG_TWO_PI
    if event_dim:
        constant *= math.prod(doubled.shape[-event_dim:])
        doubled = doubled.flatten(-event_dim).sum(-1)
    return torch.rsub(doubled, -constant, alpha=0.5)


def product(
    normal: dist.Normal, group: Tensor, num_groups: int, *, prior: dist.Normal | None = None
) -> LogVarianceNormal:
    """:func:`~pyro_mlvae.product_of_normals`, of and as distributions; scales may stay logs all the way.

    Args:
        normal: of every member, batch shape ``[*batch, members, dim]``.
        group: the group of each.
        num_groups: how many there are.
        prior: one more Normal that takes part in every group's product, batch shape ``[dim]``.
    """
    others = None if prior is None else (prior.loc, _log_variance(prior))
    return LogVarianceNormal(
        *product_by_log_variance(normal.loc, _log_variance(normal), group, num_groups, prior=others)
    )


def _log_variance(normal: dist.Normal) -> Tensor:
    """The log of the variance of any Normal."""
    if isinstance(normal, LogVarianceNormal):
        return normal.log_variance
    log_scale: Tensor = normal.scale.log()
    return 2.0 * log_scale


def _broadcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors in one shape, at no cost where they are."""
    first = tensors[0].shape
    return (
        tensors if all(tensor.shape == first for tensor in tensors) else torch.broadcast_tensors(*tensors)
    )
