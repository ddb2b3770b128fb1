"""Linear networks: enough for the exact posteriors of the solved models."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import require_positive
from pyro_mlvae.networks.shapes import require_event_shape


class LinearEncoder(nn.Module):
    """Normals whose locs are affine in x and whose scales do not depend on it.

    Args:
        dim: size of an observation, which is a vector.
        content_dim: size of content.
        style_dim: size of style.

    >>> content, style = LinearEncoder(6, content_dim=2, style_dim=3)(torch.rand(5, 6))
    >>> content.batch_shape, style.batch_shape
    (torch.Size([5, 2]), torch.Size([5, 3]))
    """

    def __init__(self, dim: int, content_dim: int, style_dim: int) -> None:
        super().__init__()
        require_positive(dim=dim, content_dim=content_dim, style_dim=style_dim)
        self.event_shape = torch.Size([dim])
        self.content_dim = content_dim
        self.content = nn.Linear(dim, content_dim)
        self.style = nn.Linear(dim, style_dim)
        self.content_log_scale = nn.Parameter(torch.zeros(content_dim))
        self.style_log_scale = nn.Parameter(torch.zeros(style_dim))

    def forward(self, x: Float[Tensor, "observations dim"]) -> tuple[dist.Normal, dist.Normal]:
        """``(content, style)``: Normals of batch shapes ``[N, content]`` and ``[N, style]``."""
        require_event_shape(x, self.event_shape)
        content_loc, style_loc = self.content(x), self.style(x)
        return (
            dist.Normal(content_loc, self.content_log_scale.exp().expand_as(content_loc)),
            dist.Normal(style_loc, self.style_log_scale.exp().expand_as(style_loc)),
        )


class LinearShift(nn.Module):
    """Moves an observation's style Normal linearly against its group's content; starts as no move.

    Args:
        content_dim: size of content.
        style_dim: size of style.

    >>> style = dist.Normal(torch.zeros(5, 3), torch.ones(5, 3))
    >>> LinearShift(content_dim=2, style_dim=3)(style, torch.ones(5, 2)).batch_shape
    torch.Size([5, 3])
    """

    def __init__(self, content_dim: int, style_dim: int) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim)
        self.weight = nn.Parameter(torch.zeros(style_dim, content_dim))

    def forward(
        self, style: dist.Normal, content: Float[Tensor, "*particles observations content"]
    ) -> dist.Normal:
        """q(S | x, C): what content already explains is taken off the loc."""
        return dist.Normal(style.loc - content @ self.weight.mT, style.scale)
