"""The guide that can be the exact posterior of the solved model."""

from __future__ import annotations

import torch
from jaxtyping import Float
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_mlvae.guides.product_of_normals import ProductOfNormals
from pyro_mlvae.linear_gaussian import LinearGaussian
from pyro_mlvae.networks import LinearEncoder


class LinearGaussianGuide(ProductOfNormals):
    """A linear encoder, the prior as an expert, and a style that shifts with content::

        q(C_G | X_G)      = N(C; 0, I) prod_{i in G} N(C; A x_i + a, scale_c)   normalised
        q(S_i | x_i, C_G) = N(S; B x_i + b - K C_G, scale_s)

    Args:
        dim: size of an observation.
        content_dim: size of content.
        style_dim: size of style.

    It starts at random; :meth:`exact` is the posterior itself.

    >>> guide = LinearGaussianGuide.exact(LinearGaussian.correlated())
    >>> guide.shift.shape
    torch.Size([2, 3])
    """

    encoder: LinearEncoder
    shift: Tensor

    def __init__(self, dim: int, content_dim: int, style_dim: int) -> None:
        super().__init__(LinearEncoder(dim, content_dim, style_dim), prior_expert=True)
        self.shift = nn.Parameter(torch.zeros(style_dim, content_dim))

    @classmethod
    def exact(cls, solved: LinearGaussian) -> LinearGaussianGuide:
        """The exact posterior of every batch drawn from ``solved``."""
        dim, content_dim = solved.content_loading.shape
        guide = cls(dim, content_dim, solved.style_loading.shape[1]).to(solved.offset)
        content_weight, content_bias, content_scale = solved.content_expert()
        style_weight, style_bias, shift, style_scale = solved.style_given_content()
        with torch.no_grad():
            guide.encoder.content.weight.copy_(content_weight)
            guide.encoder.content.bias.copy_(content_bias)
            guide.encoder.content_log_scale.copy_(content_scale.log())
            guide.encoder.style.weight.copy_(style_weight)
            guide.encoder.style.bias.copy_(style_bias)
            guide.encoder.style_log_scale.copy_(style_scale.log())
            guide.shift.copy_(shift)
        return guide

    def style_posterior(
        self, style: dist.Normal, content: Float[Tensor, "*particles observations content"]
    ) -> dist.Normal:
        """q(S_i | x_i, C_G): the encoder's Normal, moved against what content already explains."""
        return dist.Normal(style.loc - content @ self.shift.mT, style.scale)
