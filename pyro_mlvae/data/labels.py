"""From names of any hashable kind to numbers, and back."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Hashable, Mapping, Sequence, Set
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.errors import InputError

# What names the group or the label of each observation: a sequence of hashable values, an array, a
# tensor, a series of pandas or polars, an array of pyarrow, or a frame of one column.
Labels: TypeAlias = Any


def factorise(name: str, labels: Labels, length: int) -> tuple[Tensor, tuple[Hashable, ...]]:
    """Number the distinct labels, sorted where they can be, else in the order of appearance.

    Args:
        name: what is labelled, for the error.
        labels: one label for each of ``length``.
        length: how many are expected.

    Raises:
        InputError: there are more or fewer, or more than one column of them; one is missing (None,
            NaN or pandas' NA, or masked), or cannot be hashed.

    >>> factorise("group", ["b", "a", "b"], 3)
    (tensor([1, 0, 1]), ('a', 'b'))
    """
    labels = _one_column(name, labels)
    if len(labels) != length:
        raise InputError(
            f"{name} must have one entry for each of x, expected {length}, got {len(labels)}"
        )
    if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "biu":
        # Numbers, of which none can be missing: a million of them are no loop in Python.
        distinct, number = np.unique(labels, return_inverse=True)
        return torch.from_numpy(number.astype(np.int64)), tuple(distinct.tolist())
    values = (
        labels.tolist() if isinstance(labels, np.ndarray) else [_plain(value) for value in labels]
    )
    for i, value in enumerate(values):
        if is_missing(value):
            raise InputError(
                f"{name} must be known for every observation, but is missing ({value}) for "
                f"observation {i}: drop it or name its {name}"
            )
    try:
        appeared = dict.fromkeys(values)
    except TypeError as error:
        raise InputError(
            f"{name} must hold hashable values ({error}): use strings or numbers"
        ) from None
    try:
        names = tuple(sorted(appeared))
    except TypeError:
        names = tuple(appeared)
    numbers = {value: i for i, value in enumerate(names)}
    return torch.tensor([numbers[value] for value in values], dtype=torch.int64), names


def _one_column(name: str, labels: Any) -> Any:
    """Labels as a sequence of values, whatever holds them."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = (labels.float() if labels.is_floating_point() else labels).numpy()
    elif hasattr(labels, "__array__"):  # of NumPy itself, pandas, polars or pyarrow
        labels = labels if isinstance(labels, np.ndarray) else np.asarray(labels)
    elif hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    if isinstance(labels, np.ma.MaskedArray):
        missing, labels = np.ma.getmaskarray(labels), labels.data.astype(object)
        labels[missing] = None
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "mM":
        # Times as Python has them, where a missing one is None and no number is one of nanoseconds.
        labels = labels.astype(f"{labels.dtype.kind}8[us]").astype(object)
    if isinstance(labels, str | bytes | Mapping | Set) or not hasattr(labels, "__len__"):
        raise InputError(
            f"{name} must be a sequence with an entry for each of x, got a "
            f"{type(labels).__name__}: give a list or an array"
        )
    shape = np.shape(labels) if isinstance(labels, np.ndarray) else (len(labels),)
    if len(shape) == 2 and shape[1] == 1:
        return labels[:, 0]
    if len(shape) != 1:
        raise InputError(
            f"{name} must be one column, an entry for each of x, got shape {list(shape)}: take one "
            f"column, or of one-hot columns np.asarray({name}).argmax(1)"
        )
    return labels


def _plain(value: Any) -> Any:
    """The number in a tensor or array without dimensions: tensors themselves are never equal."""
    return value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value


def is_missing(value: Any) -> bool:
    """Whether a value says that there is none: None, NaN, NaT, or pandas' NA.

    >>> [is_missing(value) for value in (None, float("nan"), 0, "")]
    [True, True, False, False]
    """
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA is neither equal to itself nor not
        return True
    except ValueError:  # an array, which is refused as it cannot be hashed
        return False


def factorise_parents(
    parent: Mapping[Any, Hashable], group_names: Sequence[Hashable]
) -> tuple[Tensor, tuple[Hashable, ...]]:
    """Number the super-groups of the groups, which ``parent`` gives by name.

    Raises:
        InputError: a group has none.

    >>> factorise_parents({"ann": "x", "bob": "y", "cid": "x"}, ["ann", "bob", "cid"])
    (tensor([0, 1, 0]), ('x', 'y'))
    """
    missing = [name for name in group_names if name not in parent]
    if missing:
        raise InputError(
            f"parent must name the super-group of every group, but lacks that of {missing[0]!r} "
            f"and {len(missing) - 1} more"
        )
    return factorise("parent", [parent[name] for name in group_names], len(group_names))


def find_groups(
    wanted: Sequence[str],
    group_names: Sequence[Hashable],
    parent_names: Sequence[Hashable],
    parent: Tensor | None,
) -> Tensor:
    """The groups that are named, or that belong to a super-group that is named.

    Args:
        wanted: names, compared as text.
        group_names: what the groups are called.
        parent_names: what the super-groups are called.
        parent: the super-group of each group.

    Returns:
        Which groups they are, bool ``[num_groups]``.

    Raises:
        InputError: a name is neither's; the sentence lists near ones.
    """
    groups = [name_of(name) for name in group_names]
    parents = [name_of(name) for name in parent_names]
    found = torch.zeros(len(groups), dtype=torch.bool)
    for name in map(name_of, wanted):
        if name in groups:
            found |= torch.tensor([each == name for each in groups])
        elif parent is not None and name in parents:
            found |= torch.tensor([each == name for each in parents])[parent]
        else:
            near = difflib.get_close_matches(name, [*parents, *groups], n=3, cutoff=0.4)
            hint = (
                f"near are {', '.join(near)}" if near else f"there are {', '.join(groups[:5])}, ..."
            )
            raise InputError(f"no group or super-group is called {name!r}: {hint}")
    return found


def name_of(value: Hashable) -> str:
    """A name as the text by which it is compared, in Unicode's composed form.

    >>> len("cafe\N{COMBINING ACUTE ACCENT}"), len(name_of("cafe\N{COMBINING ACUTE ACCENT}"))
    (5, 4)
    """
    return unicodedata.normalize("NFC", str(value))


def present_names(group: Tensor, group_names: Sequence[Hashable]) -> tuple[str, ...]:
    """The names, as text, of the groups that have an observation.

    >>> present_names(torch.tensor([2, 0, 2]), ["ann", "bob", "cid"])
    ('ann', 'cid')
    """
    return tuple(str(group_names[i]) for i in group.unique().tolist())
