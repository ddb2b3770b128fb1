"""Normals from a network's parameters, and the moments of any distribution."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.ops.log_variance import LogVarianceNormal

# Scales stay within e^-7 and e^7, where neither a precision nor its gradient overflows float32.
LOG_SCALE_BOUND = 7.0
# Where a distribution has no mean in closed form, it is that of so many draws.
MOMENT_DRAWS = 1000


def loc_and_log_variance(parameters: Float[Tensor, "*batch two_dims"]) -> tuple[Tensor, Tensor]:
    """The first half of ``parameters`` as locs, the second, smoothly bounded, as log variances.

    >>> loc, log_variance = loc_and_log_variance(torch.tensor([1.0, 0.0]))
    >>> loc, log_variance
    (tensor([1.]), tensor([0.]))
    """
    # Under autocast they come in bfloat16, whose eight bits are too few for a loc or a scale.
    parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    loc, raw = parameters.chunk(2, -1)
    return loc, 2.0 * LOG_SCALE_BOUND * (raw / LOG_SCALE_BOUND).tanh()


def normal_from_parameters(parameters: Float[Tensor, "*batch two_dims"]) -> LogVarianceNormal:
    """A Normal from what a network gives: locs, then log scales, which are smoothly bounded.

    >>> normal_from_parameters(torch.zeros(5, 4)).batch_shape
    torch.Size([5, 2])
    """
    return LogVarianceNormal(*loc_and_log_variance(parameters))


def unbounded(log_scale: Tensor) -> Tensor:
    """The parameter that :func:`normal_from_parameters` takes for this log scale."""
    return LOG_SCALE_BOUND * (log_scale / LOG_SCALE_BOUND).atanh()


def moments(distribution: Any, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, ``[*batch_shape, *event_shape]`` each.

    A distribution that has none in closed form, such as a flow, gives those of 1,000 draws, which
    are fixed by ``seed``; the caller's random state is left as it was. They are differentiable
    where the draws are.

    >>> import pyro.distributions as dist
    >>> from pyro.distributions.transforms import AffineTransform
    >>> flow = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [AffineTransform(3.0, 2.0)])
    >>> mean, stddev = moments(flow)
    >>> bool((mean - 3.0).abs() < 0.3), bool((stddev - 2.0).abs() < 0.3)
    (True, True)
    """
    try:
        return distribution.mean, distribution.stddev
    except (NotImplementedError, AttributeError):
        return _drawn_moments(distribution, seed)


def mean_of(distribution: Any, *, seed: int = 0) -> Tensor:
    """The first of :func:`moments`."""
    try:
        mean: Tensor = distribution.mean
    except (NotImplementedError, AttributeError):
        mean, _ = _drawn_moments(distribution, seed)
    return mean


def _drawn_moments(distribution: Any, seed: int) -> tuple[Tensor, Tensor]:
    with torch.random.fork_rng(_cuda_devices(distribution)):
        torch.manual_seed(seed)
        draw = distribution.rsample if distribution.has_rsample else distribution.sample
        draws: Tensor = draw(torch.Size([MOMENT_DRAWS]))
    return draws.mean(0), draws.std(0)


def _cuda_devices(distribution: Any) -> list[torch.device]:
    """The GPU of a distribution's parameters, as ``fork_rng`` wants to know it."""
    base = distribution
    while hasattr(base, "base_dist"):
        base = base.base_dist
    tensors = [value for value in vars(base).values() if isinstance(value, Tensor)]
    return list({tensor.device for tensor in tensors if tensor.device.type == "cuda"})
