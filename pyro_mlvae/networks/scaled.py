"""An encoder of x in its own units, around one of scaled x."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.data.scaling import Scaling, scaled


class ScaledEncoder(nn.Module):
    """Features of x, from the encoder of ``(x - shift) / unit``; a missing value is its feature's mean.

    Args:
        encoder: from scaled x ``[N, *event_shape]`` to features.
        scaling: shift, unit and mean, which become buffers, so that they are saved with the
            weights.

    >>> import torch
    >>> from pyro_mlvae import MLPEncoder
    >>> scaling = Scaling("range", shift=torch.tensor(0.0), unit=torch.tensor(255.0))
    >>> ScaledEncoder(MLPEncoder((8, 8), content_dim=4, style_dim=2), scaling)(torch.rand(5, 8, 8)).shape
    torch.Size([5, 12])
    """

    shift: Tensor
    unit: Tensor
    mean: Tensor | None

    def __init__(self, encoder: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.encoder = encoder
        # Guides ask their encoder for these.
        self.content_dim, self.style_dim = encoder.content_dim, encoder.style_dim
        for name in ("shift", "unit", "mean"):
            value = getattr(scaling, name)
            # Copies: tensors of two modules that share memory cannot be saved.
            self.register_buffer(name, None if value is None else value.clone())

    def forward(self, x: Float[Tensor, "observations ..."]) -> Float[Tensor, "observations width"]:
        """The features of each observation."""
        features: Tensor = self.encoder(scaled(x, self.shift, self.unit, self.mean))
        return features
