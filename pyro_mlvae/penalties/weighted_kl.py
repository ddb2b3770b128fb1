r"""A divergence with a weight of its own, which may rise slowly, or with free bits.

.. math:: \beta_t \sum_j \max(KL_j, \lambda) - \sum_j KL_j, \qquad
    \beta_t = \beta \min(1, t / \text{warm-up})

Added to the ELBO's own divergence this replaces it by the weighted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from pyro_mlvae.errors import InputError
from pyro_mlvae.penalties.base import Latents, Penalty, require_weight, risen


@dataclass(frozen=True)
class WeightedKL(Penalty):
    """Weighs the divergence of one latent's posterior from its prior.

    Attributes:
        site: the latent: "content" or "style".
        beta: its weight; 1 is the ELBO's.
        warmup_steps: over so many steps of training the weight rises linearly from 0 to ``beta``.
        free_bits: nats per dimension, on average over the minibatch, below which a divergence is
            not reduced further; for Normals only.

    The divergence is in closed form where PyTorch has one, and that of the draw where it has not.

    Raises:
        InputError: a number is out of range; and, when it is used, there is no such latent, or
            ``free_bits`` are asked for where posterior or prior is not Normal.

    Reference: Higgins et al. (2017), "beta-VAE"; Kingma et al. (2016), arXiv 1606.04934, for free
    bits.

    >>> WeightedKL("style", beta=4.0, warmup_steps=10)
    WeightedKL(site='style', beta=4.0, warmup_steps=10, free_bits=0.0)
    """

    site: str
    beta: float = 1.0
    warmup_steps: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        require_weight(beta=self.beta, warmup_steps=self.warmup_steps, free_bits=self.free_bits)

    def __call__(self, latents: Latents) -> Tensor:
        weight = self.beta * risen(latents.step, self.warmup_steps)
        if self.free_bits:
            divergence = _by_dimension(
                self.site, latents.posterior(self.site), latents.prior(self.site)
            )
            members = latents.total(self.site, torch.ones_like(divergence[0]))
            total = latents.total(self.site, divergence)
            return (weight * total.clamp(min=self.free_bits * members) - total).sum()
        return (weight - 1.0) * latents.total(self.site, latents.divergence(self.site))


def _by_dimension(site: str, posterior: Any, prior: Any) -> Tensor:
    """The divergence of each dimension, ``[dim, *batch_shape]``."""
    bases = [fn.base_dist if isinstance(fn, Independent) else fn for fn in (posterior, prior)]
    if not all(isinstance(base, Normal) for base in bases):
        kinds = " and ".join(type(base).__name__ for base in bases)
        raise InputError(
            f"free_bits need Normals with independent dimensions, but posterior and prior of "
            f"{site!r} are {kinds}: weigh that divergence with beta alone"
        )
    return kl_divergence(*bases).reshape(*posterior.batch_shape, -1).movedim(-1, 0)
