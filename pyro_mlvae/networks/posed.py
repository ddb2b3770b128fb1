r"""Networks around a pose: the first numbers of style move what content and the rest draw.

.. math:: x(v) = \hat{x}\big(M_S^{-1} (v - t_S)\big), \qquad M_S = R(\text{turn}) \,
    \begin{pmatrix} 1 & \text{shear} \\ 0 & 1 \end{pmatrix} \, \mathrm{diag}(e^{a + b}, e^{a - b})

A letter that is turned is the same letter, which no convolution knows. The decoder draws a picture
upright and moves it by an affine map; the encoder finds the map first and undoes it before it looks
for content.

References: Jaderberg et al. (2015), "Spatial transformer networks", arXiv 1506.02025, for the
layer; Detlefsen, Hauberg (2019), "Explicit disentanglement of appearance and perspective in
generative models", arXiv 1906.11881, for the pose as a latent of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from pyro_mlvae.errors import InputError
from pyro_mlvae.networks.conv import ConvDecoder, ConvEncoder
from pyro_mlvae.networks.mlp import require_event_shape

# What one standard deviation of style's prior moves: turn in radians, log of the size, log of the
# aspect, shear, and shift to the right and down in half sides of the picture.
UNITS = (0.25, 0.15, 0.1, 0.15, 0.12, 0.12)
# The pose starts at none, with little noise: else training begins with pictures of noise.
_LOG_SCALE_AT_START = -1.5


class PosedEncoder(nn.Module):
    """Image to features: the pose first, the rest from the image with the pose undone.

    Args:
        event_shape: ``(channels, height, width)`` of one image.
        content_dim: size of content.
        style_dim: size of style, of which the first six numbers are the pose: at least 7.
        width: how many features, which must be loc and log scale of content, then of style.
        options: ``channels``, ``hidden`` and ``activation``, as for :class:`ConvEncoder`; the
            network that finds the pose has half the channels and a hidden layer of 64.

    Raises:
        InputError: style has no room beside the pose, or a guide asks for other features.

    >>> PosedEncoder((1, 28, 28), content_dim=4, style_dim=8)(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 24])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        width: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        pose = _pose_dim(style_dim)
        if width not in (None, 2 * (content_dim + style_dim)):
            raise InputError(
                f"a posed encoder gives loc and log scale of content and style, "
                f"{2 * (content_dim + style_dim)} features, but the guide asks for {width}: take "
                f"conv"
            )
        self.inner = ConvEncoder(event_shape, content_dim, style_dim, **options)
        self.event_shape, self.width = self.inner.event_shape, self.inner.width
        self.content_dim, self.style_dim = content_dim, style_dim
        stages = [layer for layer in self.inner.layers if isinstance(layer, nn.Conv2d)]
        options |= {
            "channels": [max(4, layer.out_channels // 2) for layer in stages],
            "hidden": (64,),
        }
        self.pose = ConvEncoder(event_shape, pose, pose, width=2 * pose, **options)
        last: Any = self.pose.layers[-1]
        nn.init.zeros_(last.weight)
        last.bias.data[pose:] = _LOG_SCALE_AT_START

    def forward(self, x: Float[Tensor, "observations ..."]) -> Float[Tensor, "observations width"]:
        """The features of each observation."""
        require_event_shape(x, self.event_shape)
        loc, log_scale = self.pose(x).chunk(2, -1)
        features = self.inner(moved(x, loc, undo=True))
        content, style_loc, style_log_scale = features.split(
            [2 * self.content_dim, self.style_dim, self.style_dim], -1
        )
        rest = loc.shape[-1]
        return torch.cat(
            [content, loc, style_loc[:, rest:], log_scale, style_log_scale[:, rest:]], -1
        )


class PosedDecoder(nn.Module):
    """Content and style to an image: drawn by content and the rest of style, moved by the pose.

    Args:
        event_shape: ``(channels, height, width)`` of one image.
        content_dim: size of content.
        style_dim: size of style, of which the first six numbers are the pose: at least 7.
        outputs: parameters per value of x, as the likelihood asks for.
        options: ``channels``, ``hidden`` and ``activation``, as for :class:`ConvDecoder`.

    Raises:
        InputError: style has no room beside the pose.

    >>> decoder = PosedDecoder((1, 28, 28), content_dim=4, style_dim=8)
    >>> [p.shape for p in decoder(torch.zeros(3, 1, 4), torch.zeros(5, 8))]
    [torch.Size([3, 5, 1, 28, 28])]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        outputs: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        rest = style_dim - _pose_dim(style_dim)
        self.inner = ConvDecoder(event_shape, content_dim, rest, outputs, **options)
        self.event_shape, self.outputs = self.inner.event_shape, outputs
        self.dims = (content_dim, style_dim)

    def forward(
        self, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch2 style"]
    ) -> tuple[Tensor, ...]:
        """``outputs`` tensors, each ``[*batch, *event_shape]``; leading dimensions broadcast."""
        pose, rest = style.split([len(UNITS), style.shape[-1] - len(UNITS)], -1)
        drawn = torch.stack(self.inner(content, rest), -4)  # the outputs are moved as one
        batch = drawn.shape[:-4]
        pose = pose.expand(*batch, -1).reshape(-1, len(UNITS))
        images = drawn.reshape(-1, self.outputs * self.event_shape[0], *self.event_shape[1:])
        images = moved(images, pose).reshape(*batch, self.outputs, *self.event_shape)
        return images.unbind(-4)


def moved(
    x: Float[Tensor, "n channels height width"], pose: Float[Tensor, "n 6"], *, undo: bool = False
) -> Float[Tensor, "n channels height width"]:
    """Images turned, stretched, sheared and shifted by their pose, or the inverse of it.

    What comes in from outside the image goes on as its edge is. A pose of zero moves nothing.

    >>> x = torch.rand(2, 1, 8, 8)
    >>> bool(torch.allclose(moved(x, torch.zeros(2, 6)), x, atol=1e-6))
    True
    """
    turn, size, aspect, shear, right, down = (pose * pose.new_tensor(UNITS)).unbind(-1)
    cos, sin = turn.cos(), turn.sin()
    wide, high = (size + aspect).exp(), (size - aspect).exp()
    a, b, c, d = cos * wide, (cos * shear - sin) * high, sin * wide, (sin * shear + cos) * high
    if not undo:
        # The inverse: a grid says from where each pixel comes. The determinant is wide * high.
        a, b, c, d = (entry / (wide * high) for entry in (d, -b, -c, a))
        right, down = -(a * right + b * down), -(c * right + d * down)
    # Middles of pixels, from -1 to 1.
    across, along = (
        (torch.arange(n, device=x.device) * 2 + 1) / n - 1 for n in (x.shape[-1], x.shape[-2])
    )
    across, along = across.to(pose), along.to(pose)[:, None]
    a, b, c, d, right, down = (entry[:, None, None] for entry in (a, b, c, d, right, down))
    grid = torch.stack([a * across + b * along + right, c * across + d * along + down], -1)
    return grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)


def _pose_dim(style_dim: int) -> int:
    if style_dim <= len(UNITS):
        raise InputError(
            f"posed networks take the first {len(UNITS)} numbers of style for the pose: style_dim "
            f"must be at least {len(UNITS) + 1}, got {style_dim}"
        )
    return len(UNITS)
