"""What a user gives as x, as observations: a tensor, or rows on disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.batch import check_observations
from pyro_mlvae.data.mapped import MappedRows
from pyro_mlvae.errors import InputError


def as_observations(x: Any) -> Tensor | MappedRows:
    """The observations of any array of numbers, checked; what is on disk stays there.

    Raises:
        InputError: x is no array of finite real numbers with a dimension for observations.
    """
    if (
        isinstance(x, np.memmap)
        and x.ndim > 1
        and len(x)
        and x.dtype.isnative
        and (x.dtype == np.uint8 or (x.dtype.kind == "f" and x.dtype.itemsize <= 8))
    ):
        mapped = MappedRows.share(x)
        if x.dtype != np.uint8:
            for chunk in mapped.chunks():
                check_observations(chunk)
        return mapped
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x)
            # Torch takes neither mirrored nor foreign-endian arrays, and must not share read-only ones.
            array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=("C", "W"))
            x = torch.from_numpy(array)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"x must be an array of numbers, [N, *event_shape], but is none ({error})"
            ) from None
    if x.ndim < 2 and x.numel():
        raise InputError(
            f"x must have a dimension for observations and at least one for their values, got shape "
            f"{list(x.shape)}: use x[:, None] for scalar observations"
        )
    if x.dtype == torch.uint8 and x.numel():
        return x
    if x.is_complex():
        raise InputError(f"x must hold real numbers, got {x.dtype}: give the real and the imaginary part")
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    check_observations(x)
    return x
