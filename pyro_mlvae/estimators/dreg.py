r"""Doubly reparameterised gradients of the group-wise importance-weighted bound.

.. math:: \nabla_\phi = \sum_G \sum_k \tilde w_{G,k}^2 \,
    \nabla_z \log w_{G,k} \, \nabla_\phi z_{G,k},
    \qquad \tilde w_{G,k} = w_{G,k} / \textstyle\sum_j w_{G,j}

with the parameters of the guide held constant in :math:`\log w`. The guide's signal-to-noise ratio
then grows with the number of particles, where that of the bound's own gradient falls. The model's
gradient is the bound's own.

Reference: Tucker, Lawson, Gu, Maddison (2019), arXiv 1810.04152; Rainforth et al. (2018), arXiv
1802.04537.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.estimators.weighted_paths import WeightedPaths


class GroupDReG(WeightedPaths):
    """The value of :class:`GroupIWAE`, with doubly reparameterised gradients for the guide.

    Args:
        num_particles: weights that are averaged in each group; with one, it is
            :class:`StickingTheLanding`.
    """

    _freezes_guide = True

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        if self.num_particles == 1:
            return super().differentiable_loss(model, guide, *args, **kwargs)
        with self._weighing() as weigh:
            log_weights, scale = self.log_weights(model, guide, *args, **kwargs)
        weights = log_weights.detach().softmax(0)
        weigh(weights)
        surrogate = (weights * log_weights).sum()
        bound = self.bound(log_weights.detach()).sum()
        return -scale * (bound + surrogate - surrogate.detach())
