"""Operations on the latent space: decode any content with any style."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.models import MLVAE


@torch.no_grad()
def decode(
    model: MLVAE, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch2 style"]
) -> Tensor:
    """The mean of x given content and style; leading dimensions broadcast.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> decode(model, torch.zeros(5, 2), torch.zeros(5, 1)).shape
    torch.Size([5, 4])
    """
    return model.observation(content, style).mean


def swap(
    model: MLVAE, content: Float[Tensor, "rows content"], style: Float[Tensor, "columns style"]
) -> Float[Tensor, "rows columns ..."]:
    """Every content with every style: ``[rows, columns, *event_shape]``.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> swap(model, torch.zeros(5, 2), torch.zeros(3, 1)).shape
    torch.Size([5, 3, 4])
    """
    return decode(model, content.unsqueeze(1), style.unsqueeze(0))
