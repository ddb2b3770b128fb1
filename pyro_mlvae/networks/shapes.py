"""What networks share: checks of shapes, and content and style side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_mlvae.errors import InputError


def require_event_shape(x: Tensor, event_shape: Sequence[int]) -> None:
    """Raise :class:`InputError` unless ``x`` holds observations of ``event_shape``."""
    if x.shape[1:] != tuple(event_shape):
        raise InputError(
            f"x must hold observations of shape {list(event_shape)}, which this encoder was made for, "
            f"got {list(x.shape[1:])}"
        )


def join_latents(content: Tensor, style: Tensor, dims: tuple[int, int]) -> Tensor:
    """Content and style side by side, ``[*batch, sum(dims)]``; leading dimensions broadcast.

    Raises:
        InputError: they are not of the sizes that the decoder was made for.
    """
    if (content.shape[-1], style.shape[-1]) != dims:
        raise InputError(
            f"content and style must have {dims[0]} and {dims[1]} dimensions, which this decoder was "
            f"made for, got {content.shape[-1]} and {style.shape[-1]}"
        )
    if content.shape[:-1] != style.shape[:-1]:
        batch = torch.broadcast_shapes(content.shape[:-1], style.shape[:-1])
        content, style = content.expand(*batch, -1), style.expand(*batch, -1)
    return torch.cat([content, style], -1)
