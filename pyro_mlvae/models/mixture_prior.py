"""The Multi-Level VAE whose contents come from a learned mixture of Normals."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import require_positive
from pyro_mlvae.likelihoods import Likelihood
from pyro_mlvae.models.mlvae import MLVAE


class MixturePriorMLVAE(MLVAE):
    """The Multi-Level VAE with a prior of content that is learned with everything else::

        C_G ~ sum over k of weight_k N(loc_k, scale_k)      one per group           site "content"
        S_i ~ N(0, I)                                       one per observation     site "style"
        x_i ~ p(x | C_G, S_i; theta)                        decoder network         site "x"

    Where groups come in kinds, contents need not be pressed into one Normal. Only the hook
    ``content_prior`` differs from :class:`MLVAE`. The divergence of content has no closed form, so
    every estimator takes it from draws, and the estimator "local", which needs one, refuses it.

    Args:
        decoder: as for :class:`MLVAE`, and so are the next three.
        likelihood: from the decoder's outputs to the distribution of x.
        content_dim: size of content.
        style_dim: size of style.
        components: the number of Normals.

    Reference: Tomczak, Welling (2018), arXiv 1705.07120, compares such priors.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> groups = Groups(torch.arange(5), num_groups=5)
    >>> model = MixturePriorMLVAE(MLPDecoder((4,), 2, 1), NormalLikelihood(), 2, 1, components=3)
    >>> model.content_prior(groups).sample(torch.Size([5])).shape
    torch.Size([5, 2])
    """

    locs: Tensor
    log_scales: Tensor
    logits: Tensor

    def __init__(
        self,
        decoder: nn.Module,
        likelihood: Likelihood,
        content_dim: int,
        style_dim: int,
        components: int = 10,
    ) -> None:
        require_positive(components=components)
        super().__init__(decoder, likelihood, content_dim, style_dim)
        # Drawn apart, since equal components would have equal gradients for ever.
        self.locs = nn.Parameter(torch.randn(components, content_dim))
        self.log_scales = nn.Parameter(torch.zeros(components, content_dim))
        self.logits = nn.Parameter(torch.zeros(components))

    def content_prior(self, groups: Groups) -> TorchDistributionMixin:
        """The mixture, event shape ``[content]``."""
        components = dist.Normal(self.locs, self.log_scales.exp()).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)
