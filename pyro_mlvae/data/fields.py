"""Fields: what a user knows of groups and observations beside x, as tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.errors import InputError


def field_of_observations(key: str, value: Any, length: int) -> Tensor:
    """A field with one entry for each observation, ``[N, ...]``.

    >>> field_of_observations("dose", [0.5, 1.0], 2)
    tensor([0.5000, 1.0000])
    """
    tensor = _tensor("of_observations", key, value)
    if tensor.ndim < 1 or len(tensor) != length:
        raise InputError(
            f"of_observations[{key!r}] must have one entry for each of the {length} observations, "
            f"got shape {list(tensor.shape)}: a field of groups goes into of_groups"
        )
    return tensor


def field_of_groups(key: str, value: Any, group: Tensor, names: Sequence[Hashable]) -> Tensor:
    """A field with one entry for each group, ``[num_groups, ...]``, in the order of ``names``.

    Args:
        key: what it is called.
        value: a mapping from the name of each group; or one entry for each observation, equal in
            each group; or, where groups are fewer, one for each group in the order of ``names``.
        group: the index of each observation's group.
        names: what the groups are called.

    >>> field_of_groups("dose", {"ann": 1.0, "bob": 2.0}, torch.tensor([0, 1, 0]), ("ann", "bob"))
    tensor([1., 2.])
    """
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing:
            raise InputError(
                f"of_groups[{key!r}] must have an entry for every group, but lacks that of "
                f"{missing[0]!r} and {len(missing) - 1} more"
            )
        return _tensor("of_groups", key, [value[name] for name in names])
    tensor = _tensor("of_groups", key, value)
    length = len(tensor) if tensor.ndim else 0
    if length == len(group):
        of_groups = tensor.new_zeros(len(names), *tensor.shape[1:])
        of_groups[group] = tensor
        differs = (of_groups[group] != tensor).unsqueeze(-1).flatten(1).any(1)
        if differs.any():
            name = names[int(group[differs.nonzero()[0]])]
            raise InputError(
                f"of_groups[{key!r}] must be the same for all observations of a group, but differs "
                f"in {name!r}: give what differs as a field of_observations"
            )
        return of_groups
    if length == len(names):
        return tensor
    raise InputError(
        f"of_groups[{key!r}] must have one entry for each of the {len(names)} groups, or for each "
        f"of the {len(group)} observations, got shape {list(tensor.shape)}"
    )


def _tensor(name: str, key: str, value: Any) -> Tensor:
    if "." in key:
        raise InputError(f"{name}[{key!r}] must have a name without a dot: rename it")
    try:
        array = value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}[{key!r}] must hold numbers, but holds none ({error})") from None
    if array.is_complex():
        raise InputError(f"{name}[{key!r}] must hold real numbers, got {array.dtype}")
    if array.is_floating_point() and not array.isfinite().all():
        raise InputError(
            f"{name}[{key!r}] must be finite, got NaN or an infinity: remove or impute it"
        )
    return array.to(torch.get_default_dtype()) if array.is_floating_point() else array
