r"""Partially importance-weighted: one gradient for the decoder, another for the guide.

.. math::
    \nabla_\theta &\sum_G \log \frac{1}{MK} \sum_{m,k} w_{G,m,k} &\quad&\text{(group-iwae of all
    draws)} \\ \nabla_\phi &\frac{1}{M} \sum_m \sum_G \log \frac{1}{K} \sum_k w_{G,m,k}
    &&\text{(miwae)}

The decoder takes the tightest bound, whose gradient gets clearer with more particles. The guide
takes a looser one, whose gradient does not drown in noise. Both come from the same draws and one
backward pass.

Reference: Rainforth et al. (2018), arXiv 1802.04537, section 5.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyro_mlvae.estimators.miwae import outer_of
from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.estimators.weighted_paths import WeightedPaths

# The guide's gradient is divided by an outer particle's share of all weights: one so small moves
# no decoder, and its inverse is still a number in float32.
_LEAST_SHARE = 1e-20


class GroupPIWAE(WeightedPaths):
    """The value of :class:`GroupIWAE`, whose gradient the model gets; the guide gets that of
    :class:`GroupMIWAE`.

    Args:
        num_particles: draws in all, outer times inner.
        outer: how many bounds are averaged for the guide; by default as for :class:`GroupMIWAE`.

    Raises:
        InputError: ``outer`` does not divide ``num_particles``.

    >>> GroupPIWAE(100).outer
    10
    """

    def __init__(self, num_particles: int = 1, outer: int | None = None, **kwargs: Any) -> None:
        super().__init__(num_particles, **kwargs)
        self.outer = outer_of(num_particles, outer)

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        with self._weighing() as weigh:
            of_model, of_guide, scale = self.log_densities(model, guide, *args, **kwargs)
        log_weights = (of_model - of_guide).detach()
        inner = log_weights.unflatten(0, (self.outer, -1))
        within, share = inner.softmax(1), inner.logsumexp(1).softmax(0).clamp_min(_LEAST_SHARE)
        share = share.unsqueeze(1).expand_as(inner)
        # The model's density has the weights of all draws; behind the draws they are the guide's.
        weigh((1.0 / (self.outer * share)).flatten(0, 1))
        for_model, for_guide = (within * share).flatten(0, 1), (within / self.outer).flatten(0, 1)
        surrogate = (for_model * of_model - for_guide * of_guide).sum()
        return -scale * (self.bound(log_weights).sum() + surrogate - surrogate.detach())
