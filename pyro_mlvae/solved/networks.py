"""Linear networks: enough for the exact posteriors of the solved models."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import require_positive
from pyro_mlvae.networks.shapes import require_event_shape


class LinearEncoder(nn.Module):
    """Features whose locs are affine in x and whose log scales do not depend on it.

    Args:
        dim: size of an observation, which is a vector.
        content_dim: size of content.
        style_dim: size of style.

    >>> LinearEncoder(6, content_dim=2, style_dim=3)(torch.rand(5, 6)).shape
    torch.Size([5, 10])
    """

    def __init__(self, dim: int, content_dim: int, style_dim: int) -> None:
        super().__init__()
        require_positive(dim=dim, content_dim=content_dim, style_dim=style_dim)
        self.event_shape = torch.Size([dim])
        self.content_dim, self.style_dim = content_dim, style_dim
        self.content = nn.Linear(dim, content_dim)
        self.style = nn.Linear(dim, style_dim)
        self.content_log_scale = nn.Parameter(torch.zeros(content_dim))
        self.style_log_scale = nn.Parameter(torch.zeros(style_dim))

    def forward(self, x: Float[Tensor, "observations dim"]) -> Float[Tensor, "observations width"]:
        """Loc and log scale of content, then of style; a guide bounds the log scales smoothly."""
        require_event_shape(x, self.event_shape)
        content, style = self.content(x), self.style(x)
        scales = self.content_log_scale.expand_as(content), self.style_log_scale.expand_as(style)
        return torch.cat([content, scales[0], style, scales[1]], -1)


class LinearShift(nn.Module):
    """Moves the loc of an observation's style linearly against its group's content; starts as no move.

    Args:
        content_dim: size of content.
        style_dim: size of style.

    >>> LinearShift(content_dim=2, style_dim=3)(torch.zeros(5, 6), torch.ones(5, 2)).shape
    torch.Size([5, 6])
    """

    def __init__(self, content_dim: int, style_dim: int) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim)
        self.weight = nn.Parameter(torch.zeros(style_dim, content_dim))

    def forward(
        self,
        style: Float[Tensor, "observations features"],
        content: Float[Tensor, "*particles observations content"],
    ) -> Float[Tensor, "*particles observations features"]:
        """Loc and log scale of q(S | x, C): what content already explains is taken off the loc."""
        loc, log_scale = style.chunk(2, -1)
        loc = loc - content @ self.weight.mT
        return torch.cat([loc, log_scale.expand_as(loc)], -1)
