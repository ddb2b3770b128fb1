r"""A mixture of the ELBO and the importance-weighted bound of each group, from the same draws.

.. math:: \beta \sum_G \frac{1}{K} \sum_k \log w_{G,k}
    + (1 - \beta) \sum_G \log \frac{1}{K} \sum_k w_{G,k}

beta = 1 is the ELBO, beta = 0 group-iwae. A little of the ELBO keeps the guide's signal where the
bound's own is lost in noise.

Reference: Rainforth et al. (2018), arXiv 1802.04537, section 5.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.group_renyi import GroupIWAE


class GroupCIWAE(GroupIWAE):
    """``beta`` times the ELBO plus ``1 - beta`` times :class:`GroupIWAE`, of each group.

    Args:
        num_particles: weights that are averaged in each group.
        beta: the weight of the ELBO, from 0 to 1.

    Raises:
        InputError: beta is not in [0, 1].

    >>> GroupCIWAE(10, beta=0.05).beta
    0.05
    """

    def __init__(self, num_particles: int = 1, beta: float = 0.5, **kwargs: Any) -> None:
        if not 0.0 <= beta <= 1.0:
            raise InputError(
                f"beta, the weight of the ELBO, must be in [0, 1], got {beta}: 1 is the ELBO, 0 "
                f"group-iwae"
            )
        super().__init__(num_particles, **kwargs)
        self.beta = beta

    def bound(self, log_weights: Float[Tensor, "particles groups"]) -> Float[Tensor, " groups"]:
        """The bound of each group, in nats, from its log weights."""
        return self.beta * log_weights.mean(0) + (1.0 - self.beta) * super().bound(log_weights)
