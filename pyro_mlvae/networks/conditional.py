"""Style that knows its group's content: from q(S | x) to q(S | x, C)."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import require_positive
from pyro_mlvae.networks.mlp import dense_layers, normals_from_parameters


class StyleGivenContent(nn.Module):
    """Moves an observation's style Normal by what its group's content already explains.

    Args:
        content_dim: size of content.
        style_dim: size of style.
        hidden: widths of the hidden layers.
        activation: "tanh", "relu" or "silu".

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(
    ...     MLPEncoder((8, 8), content_dim=4, style_dim=2),
    ...     style_given_content=StyleGivenContent(content_dim=4, style_dim=2),
    ... )
    >>> guide.codes(torch.rand(5, 8, 8))[1].batch_shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        content_dim: int,
        style_dim: int,
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim)
        self.layers = dense_layers([2 * style_dim + content_dim, *hidden, 2 * style_dim], activation)

    def forward(
        self, style: dist.Normal, content: Float[Tensor, "*particles observations content"]
    ) -> dist.Normal:
        """q(S | x, C), batch shape ``[*particles, N, style]``.

        Args:
            style: what the encoder says of each observation's style, batch shape ``[N, style]``.
            content: the content of each observation's group.
        """
        alone = torch.cat([style.loc, style.scale.log()], -1).expand(*content.shape[:-1], -1)
        parameters = alone + self.layers(torch.cat([alone, content], -1))
        (given,) = normals_from_parameters(parameters, [style.loc.shape[-1]])
        return given
