"""The paper's networks: multilayer perceptrons between observations and latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import InputError, require_positive, unknown_name

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU}


class MLPEncoder(nn.Module):
    """Observation to features: by default loc and log scale of its content, then of its style.

    Args:
        event_shape: shape of one observation.
        content_dim: size of content.
        style_dim: size of style.
        width: how many features; what a guide asks for, ``Guide.width(content_dim, style_dim)``.
        hidden: widths of the hidden layers; the paper's is one of 500.
        activation: "tanh" (the paper's), "relu" or "silu".

    >>> MLPEncoder((8, 8), content_dim=4, style_dim=2)(torch.rand(5, 8, 8)).shape
    torch.Size([5, 12])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        hidden: Sequence[int] = (500,),
        activation: str = "tanh",
        width: int | None = None,
    ) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim)
        self.event_shape = torch.Size(event_shape)
        self.content_dim, self.style_dim = content_dim, style_dim
        self.width = 2 * (content_dim + style_dim) if width is None else width
        self.layers = dense_layers([self.event_shape.numel(), *hidden, self.width], activation)

    def forward(self, x: Float[Tensor, "observations ..."]) -> Float[Tensor, "observations width"]:
        """The features of each observation."""
        require_event_shape(x, self.event_shape)
        return self.layers(x.flatten(1))


class MLPDecoder(nn.Module):
    """Content and style to the parameters of the distribution of x.

    Args:
        event_shape: shape of one observation.
        content_dim: size of content.
        style_dim: size of style.
        outputs: parameters per value of x, as the likelihood asks for.
        hidden: widths of the hidden layers; the paper's is one of 500.
        activation: "tanh" (the paper's), "relu" or "silu".

    >>> decoder = MLPDecoder((8, 8), content_dim=4, style_dim=2, outputs=2)
    >>> [p.shape for p in decoder(torch.zeros(5, 4), torch.zeros(5, 2))]
    [torch.Size([5, 8, 8]), torch.Size([5, 8, 8])]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        outputs: int = 1,
        hidden: Sequence[int] = (500,),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim, outputs=outputs)
        self.event_shape = torch.Size(event_shape)
        self.outputs = outputs
        self.dims = (content_dim, style_dim)
        widths = [content_dim + style_dim, *reversed(hidden), outputs * math.prod(self.event_shape)]
        self.layers = dense_layers(widths, activation)

    def forward(
        self, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch2 style"]
    ) -> tuple[Tensor, ...]:
        """``outputs`` tensors, each ``[*batch, *event_shape]``; leading dimensions broadcast."""
        latents = join_latents(content, style, self.dims)
        parameters: Tensor = self.layers(latents)
        return parameters.unflatten(-1, (self.outputs, *self.event_shape)).unbind(latents.ndim - 1)


def dense_layers(widths: Sequence[int], activation: str) -> nn.Sequential:
    """Linear layers of those widths, inputs and outputs included, with activations between."""
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    if len(widths) < 3:
        raise InputError("hidden must name the width of at least one hidden layer, got none")
    require_positive(**{f"the width of layer {i}": width for i, width in enumerate(widths)})
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def require_event_shape(x: Tensor, event_shape: Sequence[int]) -> None:
    """Raise :class:`InputError` unless ``x`` holds observations of ``event_shape``."""
    if x.shape[1:] != tuple(event_shape):
        raise InputError(
            f"x must hold observations of shape {list(event_shape)}, which this encoder was made "
            f"for, got {list(x.shape[1:])}"
        )


def join_latents(content: Tensor, style: Tensor, dims: tuple[int, int]) -> Tensor:
    """Content and style side by side, ``[*batch, sum(dims)]``; leading dimensions broadcast.

    Raises:
        InputError: they are not of the sizes that the decoder was made for.
    """
    if (content.shape[-1], style.shape[-1]) != dims:
        raise InputError(
            f"content and style must have {dims[0]} and {dims[1]} dimensions, which this decoder "
            f"was made for, got {content.shape[-1]} and {style.shape[-1]}"
        )
    if content.shape[:-1] != style.shape[:-1]:
        batch = torch.broadcast_shapes(content.shape[:-1], style.shape[:-1])
        content, style = content.expand(*batch, -1), style.expand(*batch, -1)
    return torch.cat([content, style], -1)
