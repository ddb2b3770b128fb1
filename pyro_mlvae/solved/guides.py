"""The guides that can be the exact posteriors of the solved models, and their linear networks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import require_positive
from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.guides.product_of_normals import ProductOfNormals
from pyro_mlvae.guides.three_level import ThreeLevelGuide
from pyro_mlvae.networks.mlp import require_event_shape
from pyro_mlvae.ops import unbounded
from pyro_mlvae.solved.three_level import ThreeLevelGaussian
from pyro_mlvae.solved.two_level import LinearGaussian


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
    """Moves an observation's style loc linearly against its group's content; starts at zero.

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

    def __init__(self, dim: int, content_dim: int, style_dim: int) -> None:
        super().__init__(
            LinearEncoder(dim, content_dim, style_dim),
            prior_expert=True,
            style_given_content=LinearShift(content_dim, style_dim),
        )

    @property
    def shift(self) -> Tensor:
        """K, ``[style, content]``."""
        return self.style_given_content.weight  # type: ignore[union-attr, return-value]

    @classmethod
    def exact(cls, solved: LinearGaussian) -> LinearGaussianGuide:
        """The exact posterior of every batch drawn from ``solved``."""
        guide = cls(*_dims(solved)).to(solved.offset)
        _set_exact(guide, solved)
        return guide


class ThreeLevelGaussianGuide(ThreeLevelGuide):
    """:class:`ThreeLevelGuide` with a linear encoder, and a style that shifts with content.

    Args:
        dim: size of an observation.
        content_dim: size of content.
        style_dim: size of style.

    It starts at random; :meth:`exact` is the posterior itself.

    >>> guide = ThreeLevelGaussianGuide.exact(ThreeLevelGaussian.correlated())
    >>> sizes, parent = torch.tensor([2, 1, 3]), torch.tensor([0, 0, 1])
    >>> batch = ThreeLevelGaussian.correlated().sample(sizes, parent)
    >>> guide.super_content_posterior(guide.encode(batch.x), batch.groups).batch_shape
    torch.Size([2])
    """

    def __init__(self, dim: int, content_dim: int, style_dim: int) -> None:
        super().__init__(
            LinearEncoder(dim, content_dim, style_dim),
            style_given_content=LinearShift(content_dim, style_dim),
        )

    @classmethod
    def exact(cls, solved: ThreeLevelGaussian) -> ThreeLevelGaussianGuide:
        """The exact posterior of every batch drawn from ``solved``."""
        guide = cls(*_dims(solved.two_level)).to(solved.within_scale)
        _set_exact(guide, solved.two_level)
        with torch.no_grad():
            guide.within_logit.copy_(solved.within_scale.square().logit())
        return guide


def _dims(solved: LinearGaussian) -> tuple[int, int, int]:
    return (*solved.content_loading.shape, solved.style_loading.shape[1])


@torch.no_grad()
def _set_exact(guide: GroupedGuide, solved: LinearGaussian) -> None:
    """Give the linear networks of ``guide`` the values of the exact posterior."""
    encoder, shift = guide.encoder, guide.style_given_content
    assert isinstance(encoder, LinearEncoder)
    assert isinstance(shift, LinearShift)
    content_weight, content_bias, content_scale = solved.content_expert()
    style_weight, style_bias, style_shift, style_scale = solved.style_given_content()
    encoder.content.weight.copy_(content_weight)
    encoder.content.bias.copy_(content_bias)
    encoder.content_log_scale.copy_(unbounded(content_scale.log()))
    encoder.style.weight.copy_(style_weight)
    encoder.style.bias.copy_(style_bias)
    encoder.style_log_scale.copy_(unbounded(style_scale.log()))
    shift.weight.copy_(style_shift)
