r"""Importance-weighted bounds, one weight for each group and particle.

.. math:: \frac{1}{1 - \alpha} \sum_G \log \frac{1}{K} \sum_k
    \left( \frac{p(X_G, C_G^k, S_G^k)}{q(C_G^k, S_G^k \mid X_G)} \right)^{1 - \alpha}

The logarithm of the mean is taken inside each group. Pyro's own ``RenyiELBO`` forms, on a flat
batch, one weight for all groups together: a bound as well, but one that is the looser the more
groups there are.

Reference: Burda, Grosse, Salakhutdinov (2016), arXiv 1509.00519; Li, Turner (2016), arXiv
1602.02311.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.estimators.group_weights import (
    group_log_weights,
    log_density_by_plate,
    sum_upwards,
)
from pyro_mlvae.estimators.pathwise import PathwiseELBO, common_scale
from pyro_mlvae.estimators.programs import Program


class GroupRenyiELBO(PathwiseELBO):
    """The variational Rényi bound of each group, 0 <= alpha < 1, summed over groups.

    Args:
        alpha: the order. 0 is :class:`GroupIWAE`; towards 1 the bound falls to the ELBO.
        num_particles: weights that are averaged in each group.

    The rest is as for :class:`pyro.infer.Trace_ELBO`. The first argument of model and guide is a
    :class:`~pyro_mlvae.GroupedBatch`. Weights are formed without the scale that handlers put on the
    sites, which is applied to the bound, so minibatches of groups are unbiased for all of them.

    Raises:
        InputError: alpha is not in [0, 1); and, when it is used, a site is outside the plates
            "groups" and "observations", sites differ in scale, or a site of the guide is not
            reparameterised.

    >>> import torch
    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> bound = -GroupRenyiELBO(alpha=0.5, num_particles=3).loss(*pair, batch)
    >>> abs(bound - float(solved.log_evidence(batch).sum())) < 1e-8
    True
    """

    def __init__(self, alpha: float = 0.5, num_particles: int = 1, **kwargs: Any) -> None:
        if not 0.0 <= alpha < 1.0:
            raise InputError(
                f"alpha of a group-wise Rényi bound must be in [0, 1), got {alpha}: take 0 for "
                f"group-iwae, and the estimator 'trace' for the limit 1"
            )
        require_positive(num_particles=num_particles)
        super().__init__(num_particles=num_particles, **kwargs)
        self.alpha = alpha

    def log_weights(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        """The log importance weights ``[num_particles, groups]``, in nats, and the sites' scale.

        Where there are latents of super-groups, the weights are theirs: ``[num_particles,
        parents]``.
        """
        particles, scale = [], 1.0
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            scale = common_scale(model_trace, guide_trace)
            found = group_log_weights(model_trace, guide_trace, args[0])
            particles.append(found.reshape(-1, found.shape[-1]))
        return torch.cat(particles), scale

    def log_densities(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor, Any]:
        """Log densities of model and guide, each as :meth:`log_weights`, and the sites' scale."""
        particles, scale = [], 1.0
        for traces in self._get_traces(model, guide, args, kwargs):
            scale = common_scale(*traces)
            pair = [sum_upwards(log_density_by_plate(trace, args[0]), args[0]) for trace in traces]
            particles.append(torch.stack([own.reshape(-1, own.shape[-1]) for own in pair]))
        of_model, of_guide = torch.cat(particles, 1)
        return of_model, of_guide, scale

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        log_weights, scale = self.log_weights(model, guide, *args, **kwargs)
        return -scale * self.bound(log_weights).sum()

    def bound(self, log_weights: Float[Tensor, "particles groups"]) -> Float[Tensor, " groups"]:
        """The bound of each group, in nats, from its log weights."""
        power = 1.0 - self.alpha
        return (torch.logsumexp(power * log_weights, 0) - math.log(len(log_weights))) / power


class GroupIWAE(GroupRenyiELBO):
    """The importance-weighted bound of each group, summed: :class:`GroupRenyiELBO` of order 0.

    Args:
        num_particles: weights that are averaged in each group; with one, it is the ELBO.
    """

    def __init__(self, num_particles: int = 1, **kwargs: Any) -> None:
        super().__init__(0.0, num_particles, **kwargs)
