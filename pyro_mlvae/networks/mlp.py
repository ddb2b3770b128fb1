"""The paper's networks: multilayer perceptrons between observations and latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.errors import InputError, require_positive, unknown_name
from pyro_mlvae.networks.shapes import join_latents, require_event_shape
from pyro_mlvae.ops.distributions import LogVarianceNormal
from pyro_mlvae.ops.nodes import Tanh

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": Tanh, "relu": nn.ReLU, "silu": nn.SiLU}

# Scales stay within e^-7 and e^7: wide enough for any latent, and neither a precision nor a
# gradient through one can overflow float32.
_LOG_SCALE_BOUND = 7.0


def normals_from_parameters(
    parameters: Float[Tensor, "*batch all_dims"], dims: Sequence[int]
) -> tuple[dist.Normal, ...]:
    """Normals of those dimensions: of each in turn ``parameters`` have the loc, then the log scale.

    Log scales are smoothly bounded.

    >>> [normal.batch_shape for normal in normals_from_parameters(torch.zeros(3, 10), [4, 1])]
    [torch.Size([3, 4]), torch.Size([3, 1])]
    """
    # Under autocast they come in bfloat16, in whose eight bits neither a loc nor a scale is to be kept.
    parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    parts = parameters.split([dim for dim in dims for _ in range(2)], -1)
    return tuple(
        LogVarianceNormal(loc, 2.0 * _LOG_SCALE_BOUND * (raw / _LOG_SCALE_BOUND).tanh())
        for loc, raw in zip(parts[::2], parts[1::2], strict=True)
    )


class MLPEncoder(nn.Module):
    """Observation to the Normals of its content and of its style, from one shared trunk.

    Args:
        event_shape: shape of one observation.
        content_dim: size of content.
        style_dim: size of style.
        hidden: widths of the hidden layers; the paper's is one of 500.
        activation: "tanh" (the paper's), "relu" or "silu".

    >>> content, style = MLPEncoder((8, 8), content_dim=4, style_dim=2)(torch.rand(5, 8, 8))
    >>> content.batch_shape, style.batch_shape
    (torch.Size([5, 4]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        content_dim: int,
        style_dim: int,
        hidden: Sequence[int] = (500,),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        require_positive(content_dim=content_dim, style_dim=style_dim)
        self.event_shape = torch.Size(event_shape)
        self.content_dim = content_dim
        self.dims = (content_dim, style_dim)
        widths = [self.event_shape.numel(), *hidden, 2 * sum(self.dims)]
        self.layers = dense_layers(widths, activation)

    def forward(self, x: Float[Tensor, "observations ..."]) -> tuple[dist.Normal, dist.Normal]:
        """``(content, style)``: Normals of batch shapes ``[N, content]`` and ``[N, style]``."""
        require_event_shape(x, self.event_shape)
        content, style = normals_from_parameters(self.layers(x.flatten(1)), self.dims)
        return content, style


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
    """Linear layers of those widths, inputs and outputs included, with the activation between them."""
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    if len(widths) < 3:
        raise InputError("hidden must name the width of at least one hidden layer, got none")
    require_positive(**{f"the width of layer {i}": width for i, width in enumerate(widths)})
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
