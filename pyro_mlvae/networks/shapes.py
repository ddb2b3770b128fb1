"""Shape checks that networks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pyro_mlvae.errors import InputError


def require_event_shape(x: Tensor, event_shape: Sequence[int]) -> None:
    """Raise :class:`InputError` unless ``x`` holds observations of ``event_shape``."""
    if x.shape[1:] != tuple(event_shape):
        raise InputError(
            f"x must hold observations of shape {list(event_shape)}, which this encoder was made for, "
            f"got {list(x.shape[1:])}"
        )
