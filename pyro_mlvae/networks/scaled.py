"""Encoders around another: of scaled x, and of the logarithms of counts."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.data.scaling import Scaling, scaled


class ScaledEncoder(nn.Module):
    """Features of ``(x - shift) / unit``, where a missing value is its feature's mean.

    Args:
        encoder: from scaled x ``[N, *event_shape]`` to features.
        scaling: shift, unit and mean, which become buffers, so that they are saved with the
            weights.

    >>> import torch
    >>> from pyro_mlvae import MLPEncoder
    >>> scaling = Scaling("range", shift=torch.tensor(0.0), unit=torch.tensor(255.0))
    >>> ScaledEncoder(MLPEncoder((8, 8), 4, 2), scaling)(torch.rand(5, 8, 8)).shape
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
        return self.encoder(scaled(x, self.shift, self.unit, self.mean))


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
        return self.encoder(x.log1p())
