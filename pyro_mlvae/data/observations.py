"""What a user gives as x, as observations: a tensor, or rows on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.batch import check_observations
from pyro_mlvae.data.mapped import MappedRows
from pyro_mlvae.errors import InputError, unknown_name

MISSING = ("refuse", "mask")
# So many observations on disk are looked at in one go.
_CHUNK = 65_536


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
        _require_channels_first(x.shape)
        mapped = MappedRows.share(x)
        if x.dtype != np.uint8:
            for rows in mapped.rows.split(_CHUNK):
                check_observations(mapped.read(rows), missing=mask)
        return mapped
    x = unmasked(x, missing)
    if hasattr(x, "toarray"):
        raise InputError(
            "x must hold its values as a dense array, got a sparse one: use x.toarray()"
        )
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x.to_numpy() if hasattr(x, "to_numpy") else x)
            array = np.array(array.tolist()) if array.dtype.kind == "O" else array
            array = array.astype(np.float64) if array.dtype == np.longdouble else array
            # Torch takes no mirrored or foreign-endian array, and must not share a read-only one.
            array = np.require(array, dtype=array.dtype.newbyteorder("="), requirements=("C", "W"))
            x = torch.from_numpy(array)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"x must be an array of numbers, [N, *event_shape], but is none ({error})"
            ) from None
    _require_plain(x)
    x = x.detach()
    if x.ndim < 2 and x.numel():
        raise InputError(
            "x must have a dimension for observations and at least one for their values, got "
            f"shape {list(x.shape)}: use x[:, None] for scalar observations"
        )
    _require_channels_first(x.shape)
    if x.dtype == torch.uint8 and x.numel():
        return x
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    check_observations(x, missing=mask)
    return x


def as_numpy(x: Any) -> Any:
    """A tensor as an array of NumPy's, which has no bfloat16; all else stays as it is.

    >>> as_numpy(torch.ones(1, 2, dtype=torch.bfloat16))
    array([[1., 1.]], dtype=float32)
    """
    if not isinstance(x, Tensor):
        return x
    _require_plain(x)
    return (x.float() if x.dtype == torch.bfloat16 else x).detach().cpu().numpy()


def unmasked(x: Any, missing: str) -> Any:
    """An array whose masked values are NaN where they are taken for missing.

    >>> unmasked(np.ma.array([[0.5, 1.0]], mask=[[False, True]]), "mask")
    array([[0.5, nan]])
    """
    if not (isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x)):
        return x
    if missing != "mask":
        raise InputError(
            f"x must have a value everywhere, but {int(np.ma.count_masked(x))} are masked: fill "
            "them, leave out their observations, or take them for missing values with "
            "missing='mask'"
        )
    # What is masked has no number. uint8 holds no NaN: pixels are scaled as they would be.
    pixels = x.dtype == np.uint8
    x = np.ma.filled(x.astype(np.float32 if x.dtype.itemsize < 4 else np.float64), np.nan)
    return x / np.float32(255.0) if pixels else x


def _require_plain(x: Tensor) -> None:
    """Raise :class:`InputError` unless a tensor holds plain real numbers, and here."""
    if x.is_complex():
        raise InputError(
            f"x must hold real numbers, got {x.dtype}: give the real and the imaginary part"
        )
    for wrong, kind, remedy in (
        (x.is_nested, "nested", "x.to_padded_tensor(...)"),
        (x.device.type == "meta", "on the device meta", "a tensor with values"),
        (x.layout is not torch.strided, f"of layout {x.layout}", "x.to_dense()"),
        (x.is_quantized, f"of {x.dtype}", "x.dequantize()"),
        (x.is_floating_point() and x.dtype.itemsize == 1, f"of {x.dtype}", "x.float()"),
    ):
        if wrong:
            raise InputError(
                f"x must hold its values as a dense tensor, got one {kind}: use {remedy}"
            )


def _require_channels_first(shape: Sequence[int]) -> None:
    """Raise :class:`InputError` where the last dimension is one of few values, and no other is."""
    if len(shape) == 4 and 0 < shape[3] <= 4 < min(shape[1:3]):
        raise InputError(
            f"images must be [N, channels, height, width], got shape {list(shape)}, whose last "
            "dimension looks like channels: use x.transpose(0, 3, 1, 2), of a tensor x.permute(0, "
            "3, 1, 2)"
        )
    if len(shape) == 3 and 0 < shape[2] <= 3 and shape[1] > 8:
        raise InputError(
            "x must be vectors [N, features] or images [N, height, width], got shape "
            f"{list(shape)}, whose last dimension looks like channels: use x.reshape(len(x), -1) "
            f"for vectors, or bring images into [N, channels, height, width]"
        )
