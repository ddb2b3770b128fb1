"""An encoder of counts, around one of their logarithms."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class LogCountsEncoder(nn.Module):
    """Features of counts, from the encoder of ``log(1 + x)``: counts span orders of magnitude.

    Args:
        encoder: from ``log(1 + x)``, ``[N, *event_shape]``, to features.

    >>> import torch
    >>> from pyro_mlvae import MLPEncoder
    >>> encoder = LogCountsEncoder(MLPEncoder((3,), content_dim=2, style_dim=1))
    >>> encoder(torch.tensor([[0.0, 7.0, 5000.0]])).shape
    torch.Size([1, 6])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        # Guides ask their encoder for these.
        self.content_dim, self.style_dim = encoder.content_dim, encoder.style_dim

    def forward(self, x: Float[Tensor, "observations ..."]) -> Float[Tensor, "observations width"]:
        """The features of each observation."""
        features: Tensor = self.encoder(x.log1p())
        return features
