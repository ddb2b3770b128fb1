r"""A divergence held at a target in nats, which rises.

.. math:: \gamma \, n \, \Big| \frac{1}{n} \sum_j KL_j - C_t \Big| - \sum_j KL_j, \qquad
    C_t = C \min(1, t / \text{warm-up})

over the n members of the minibatch. Added to the ELBO's own divergence this replaces it by its
distance from the target.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_mlvae.penalties.base import Latents, Penalty, require_weight, risen


@dataclass(frozen=True)
class TargetKL(Penalty):
    """Holds the divergence of one latent's posterior from its prior at so many nats.

    Attributes:
        site: the latent: "content" or "style".
        target: C, nats for each group (content) or observation (style), on average over the
            minibatch.
        weight: gamma, of a nat's distance from it.
        warmup_steps: over so many steps of training the target rises linearly from 0.

    With this, how much a latent says is chosen, and not what it pays for it: content or style can
    be kept from saying nothing, and from saying all. The divergence is as for :class:`WeightedKL`,
    which is not to be used beside it for the same latent.

    Raises:
        InputError: a number is out of range; and, when it is used, there is no such latent.

    Reference: Burgess et al. (2018), "Understanding disentangling in beta-VAE", arXiv 1804.03599.

    >>> TargetKL("style", target=6.0, warmup_steps=1000)
    TargetKL(site='style', target=6.0, weight=10.0, warmup_steps=1000)
    """

    site: str
    target: float
    weight: float = 10.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require_weight(target=self.target, weight=self.weight, warmup_steps=self.warmup_steps)

    def __call__(self, latents: Latents) -> Tensor:
        divergence = latents.divergence(self.site)
        total = latents.total(self.site, divergence)
        members = latents.total(self.site, torch.ones_like(divergence))
        target = self.target * risen(latents.step, self.warmup_steps)
        return self.weight * (total - target * members).abs() - total
