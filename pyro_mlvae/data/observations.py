"""What a user gives as x, as observations: a tensor, or rows on disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.batch import check_observations
from pyro_mlvae.data.mapped import MappedRows
from pyro_mlvae.errors import InputError, unknown_name

MISSING = ("refuse", "mask")


def as_observations(x: Any, missing: str = "refuse") -> Tensor | MappedRows:
    """The observations of any array of numbers, checked; what is on disk stays there.

    Args:
        x: the array.
        missing: "refuse" NaN, or "mask": NaN, and what a masked array masks, are missing values.

    Raises:
        InputError: x is no array of finite real numbers with a dimension for observations.
    """
    if missing not in MISSING:
        raise unknown_name("missing", missing, MISSING)
    mask = missing == "mask"
    if (
        isinstance(x, np.memmap)
        and x.ndim > 1
        and len(x)
        and x.dtype.isnative
        and min(x.strides) > 0  # torch takes no array that is turned around, but for its copy
        and (x.dtype == np.uint8 or (x.dtype.kind == "f" and x.dtype.itemsize <= 8))
    ):
        mapped = MappedRows.share(x)
        if x.dtype != np.uint8:
            for chunk in mapped.chunks():
                check_observations(chunk, missing=mask)
        return mapped
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        if not mask:
            raise InputError(
                f"x must have a value everywhere, but {int(np.ma.count_masked(x))} are masked: fill them, "
                f"leave out their observations, or take them for missing values with missing='mask'"
            )
        # What is masked has no number, and uint8 pixels, which hold no NaN, are scaled as they would be.
        pixels = x.dtype == np.uint8
        x = np.ma.filled(x.astype(np.float32 if x.dtype.itemsize < 4 else np.float64), np.nan)
        x = x / np.float32(255.0) if pixels else x
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x.to_numpy() if hasattr(x, "to_numpy") else x)
            # Torch takes neither mirrored nor foreign-endian arrays, and must not share read-only ones.
            array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=("C", "W"))
            x = torch.from_numpy(array)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"x must be an array of numbers, [N, *event_shape], but is none ({error})"
            ) from None
    if x.layout is not torch.strided or x.device.type == "meta":
        kind = "on the device meta" if x.device.type == "meta" else f"of layout {x.layout}"
        raise InputError(f"x must hold its values as a dense tensor, got one {kind}: use x.to_dense()")
    x = x.detach()
    if x.ndim < 2 and x.numel():
        raise InputError(
            f"x must have a dimension for observations and at least one for their values, got shape "
            f"{list(x.shape)}: use x[:, None] for scalar observations"
        )
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        raise InputError(
            f"images must be [N, channels, height, width], got shape {list(x.shape)}, whose last dimension "
            f"looks like channels: use x.transpose(0, 3, 1, 2), of a tensor x.permute(0, 3, 1, 2)"
        )
    if x.dtype == torch.uint8 and x.numel():
        return x
    if x.is_complex():
        raise InputError(f"x must hold real numbers, got {x.dtype}: give the real and the imaginary part")
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    check_observations(x, missing=mask)
    return x
