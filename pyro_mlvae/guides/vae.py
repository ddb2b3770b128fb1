"""The guide of the VAE of independent observations."""

from __future__ import annotations

from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.guides.product_of_normals import ProductOfNormals


class VAEGuide(ProductOfNormals):
    """The guide of :class:`~pyro_mlvae.models.VAE`, trained with no regard to groups::

        q(C_i | x_i) = N(C; loc_c(x_i), scale_c(x_i))      site "content"
        q(S_i | x_i) = N(S; loc_s(x_i), scale_s(x_i))      site "style"

    At test time the Normals of observations that are known to share a group can be multiplied like
    an ML-VAE's, by the same :meth:`content_posterior`: the control for evidence accumulation.

    Args:
        encoder: from x to loc and log scale of content and of style.

    >>> import torch
    >>> from pyro_mlvae import MLPEncoder
    >>> guide = VAEGuide(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> guide.encode(torch.zeros(3, 4)).shape
    torch.Size([3, 6])
    """

    def forward(self, batch: GroupedBatch) -> Tensor:
        """Draw both parts of every observation's latent from its own posterior, in Pyro."""
        return super().forward(batch.singletons())
