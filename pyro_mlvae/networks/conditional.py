"""Style that knows its group's content: from q(S | x) to q(S | x, C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import require_positive
from pyro_mlvae.networks.mlp import dense_layers


class StyleGivenContent(nn.Module):
    """Moves the features of an observation's style by what its group's content already explains.

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
    >>> guide.style_posterior(guide.encode(torch.rand(5, 8, 8)), torch.zeros(5, 4)).event_shape
    torch.Size([2])
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
        self.layers = dense_layers(
            [2 * style_dim + content_dim, *hidden, 2 * style_dim], activation
        )

    def forward(
        self,
        style: Float[Tensor, "observations features"],
        content: Float[Tensor, "*particles observations content"],
    ) -> Float[Tensor, "*particles observations features"]:
        """Loc and log scale of q(S | x, C), side by side.

        Args:
            style: the same of q(S | x), ``[N, 2 * style]``.
            content: the content of each observation's group.
        """
        alone = style.expand(*content.shape[:-1], -1)
        return alone + self.layers(torch.cat([alone, content], -1))
