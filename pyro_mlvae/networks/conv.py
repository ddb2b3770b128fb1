"""Convolutional networks for images, which strided convolutions halve until little is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.networks.mlp import (
    ACTIVATIONS,
    dense_layers,
    join_latents,
    require_event_shape,
)

# A stage is a convolution of this kernel, stride 2 and padding 1: it takes n pixels to n // 2, and
# its transpose back to n, with the remainder as output padding. The kernel is twice the stride, so
# that every pixel of the transpose is a sum of equally many terms: no chequerboard.
_KERNEL = 4


def default_channels(event_shape: Sequence[int]) -> tuple[int, ...]:
    """A stage for every halving until the shorter side is at most 4: 16 channels, doubled to 128.

    Few channels at full size keep a step short: at 28x28 it takes a third of (32, 64)'s time on a
    CPU.

    >>> default_channels((1, 28, 28)), default_channels((3, 64, 64))
    ((16, 32, 64), (16, 32, 64, 128))
    """
    side, channels = min(event_shape[1:]) // 2, [16]
    while side > 4:
        side //= 2
        channels.append(min(2 * channels[-1], 128))
    return tuple(channels)


class ConvEncoder(nn.Module):
    """Image to features: by default loc and log scale of content, then of style.

    Args:
        event_shape: ``(channels, height, width)`` of one image.
        content_dim: size of content.
        style_dim: size of style.
        channels: of the strided convolutions, each of which halves height and width; by default as
            many as the image's size asks for, see :func:`default_channels`.
        hidden: widths of the hidden layers between the convolutions and the latents.
        activation: "relu", "silu" or "tanh".
        width: how many features; what a guide asks for, ``Guide.width(content_dim, style_dim)``.

    Nothing is normalised over the batch, so that no observation's code depends on another's.

    >>> ConvEncoder((1, 28, 28), content_dim=4, style_dim=2)(torch.rand(5, 1, 28, 28)).shape
    torch.Size([5, 12])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] = (256,),
        activation: str = "relu",
        width: int | None = None,
    ) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim)
        self.event_shape = torch.Size(event_shape)
        self.content_dim, self.style_dim = content_dim, style_dim
        self.width = 2 * (content_dim + style_dim) if width is None else width
        widths, sizes = _stages(self.event_shape, channels)
        flat = widths[-1] * sizes[-1].numel()
        dense = dense_layers([flat, *hidden, self.width], activation)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.Conv2d(inputs, outputs, _KERNEL, stride=2, padding=1),
                ACTIVATIONS[activation](),
            ]
        self.layers = _initialise(nn.Sequential(*layers, nn.Flatten(), *dense))

    def forward(self, x: Float[Tensor, "observations ..."]) -> Float[Tensor, "observations width"]:
        """The features of each observation."""
        require_event_shape(x, self.event_shape)
        return self.layers(x)


class ConvDecoder(nn.Module):
    """Content and style to the parameters of an image: the encoder's mirror image.

    Args:
        event_shape: ``(channels, height, width)`` of one image; every size is met exactly.
        content_dim: size of content.
        style_dim: size of style.
        outputs: parameters per value of x, as the likelihood asks for.
        channels: of the strided convolutions, in the order of the encoder's; by default as many as
            the image's size asks for, see :func:`default_channels`.
        hidden: widths of the hidden layers, in the order of the encoder's.
        activation: "relu", "silu" or "tanh".

    >>> decoder = ConvDecoder((3, 64, 64), content_dim=4, style_dim=2, outputs=2)
    >>> [p.shape for p in decoder(torch.zeros(5, 4), torch.zeros(5, 2))]
    [torch.Size([5, 3, 64, 64]), torch.Size([5, 3, 64, 64])]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        outputs: int = 1,
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] = (256,),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim, outputs=outputs)
        self.event_shape = torch.Size(event_shape)
        self.outputs = outputs
        self.dims = (content_dim, style_dim)
        widths, sizes = _stages(self.event_shape, channels)
        smallest = (widths[-1], *sizes[-1])
        dense = dense_layers(
            [sum(self.dims), *reversed(hidden), torch.Size(smallest).numel()], activation
        )
        layers: list[nn.Module] = [*dense, nn.Unflatten(-1, smallest)]
        widths[0] *= outputs
        for inputs, made, size in zip(widths[:0:-1], widths[-2::-1], sizes[-2::-1], strict=True):
            odd = (size[0] % 2, size[1] % 2)
            transpose = nn.ConvTranspose2d(
                inputs, made, _KERNEL, stride=2, padding=1, output_padding=odd
            )
            layers += [ACTIVATIONS[activation](), transpose]
        self.layers = _initialise(nn.Sequential(*layers))

    def forward(
        self, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch2 style"]
    ) -> tuple[Tensor, ...]:
        """``outputs`` tensors, each ``[*batch, *event_shape]``; leading dimensions broadcast."""
        latents = join_latents(content, style, self.dims)
        # Convolutions know one batch dimension: particles and observations are one while they run.
        images = self.layers(latents.reshape(-1, sum(self.dims)))
        return tuple(
            p.reshape(*latents.shape[:-1], *self.event_shape) for p in images.chunk(self.outputs, 1)
        )


def _initialise(layers: nn.Sequential) -> nn.Sequential:
    """Draw weights of variance 2 / fan-in, 1 / fan-in in the last layer, and set biases to zero.

    So images and latents keep their size through the depth of the network (He et al., 2015).
    PyTorch's own initial weights shrink them at every layer, until the latents hardly depend on x:
    on Omniglot 300 steps from here reach the ELBO of 1,200 from there.
    """
    weighted = [m for m in layers if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    for module in weighted:
        fan_in = module.weight[0].numel()
        if isinstance(module, nn.ConvTranspose2d):
            # Of its kernel, one term for every stride in each direction meets in one pixel.
            fan_in = module.in_channels * (_KERNEL // 2) ** 2
        gain = 1.0 if module is weighted[-1] else 2.0
        nn.init.normal_(module.weight, std=math.sqrt(gain / fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return layers


def _stages(
    event_shape: torch.Size, channels: Sequence[int] | None
) -> tuple[list[int], list[torch.Size]]:
    """Channels and sizes of the image, and after every stage."""
    if len(event_shape) != 3:
        raise InputError(
            f"convolutions take images of shape [channels, height, width], got observations of "
            f"shape {list(event_shape)}: give grey images a channel with x.unsqueeze(1), or use an "
            f"MLP"
        )
    require_positive(channels=event_shape[0], height=event_shape[1], width=event_shape[2])
    channels = default_channels(event_shape) if channels is None else channels
    if not channels:
        raise InputError("channels must name those of at least one convolution, got none")
    require_positive(
        **{f"channels of stage {i}": width for i, width in enumerate(channels, start=1)}
    )
    if min(event_shape[1:]) < 2 ** len(channels):
        raise InputError(
            f"an image of {event_shape[1]} x {event_shape[2]} is too small for {len(channels)} "
            f"convolution(s), each of which halves it: its sides must be at least "
            f"{2 ** len(channels)}"
        )
    sizes = [torch.Size(event_shape[1:])]
    for _ in channels:
        sizes.append(torch.Size(side // 2 for side in sizes[-1]))
    return [event_shape[0], *channels], sizes
