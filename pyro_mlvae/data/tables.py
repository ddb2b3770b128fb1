"""Tables as grouped data: a row is an observation, a column its group, numbers are x."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_mlvae.data.labels import factorise, is_missing
from pyro_mlvae.errors import InputError, printable

if TYPE_CHECKING:
    from pyro_mlvae.data.dataset import GroupedDataset

_LOG = logging.getLogger("pyro_mlvae")
# So many columns are named in a message.
_MOST_NAMED = 10
# The row numbers of pandas, as parquet and csv files call them.
_ROW_NUMBERS = ("", "Unnamed: 0")


def from_dataframe(
    cls: type[GroupedDataset],
    frame: Any,
    group: str,
    label: str | None = None,
    *,
    parent: str | None = None,
    features: Sequence[str] | None = None,
    missing: str = "refuse",
) -> GroupedDataset:
    """A data set from a frame of pandas or polars, or a table of pyarrow.

    Args:
        frame: one row an observation. Named levels of a pandas index count as columns.
        group: the column that says each observation's group.
        label: the column of evaluation labels; by default those of the groups.
        parent: the column of super-groups, the same for all observations of a group.
        features: the columns of x, in this order. By default all columns of numbers but the three
            above, and the log names the columns that are left out. Columns of true and false,
            categories, and row numbers without a name are features only where they are asked for.
        missing: "refuse" numbers that are missing, or "mask": they are NaN in x.

    Returns:
        The data set; x is ``[N, features]``, and ``feature_names`` says which columns it holds.
        Whole numbers become floating point, 8-bit ones too: a table holds no pixels.

    Raises:
        InputError: there is no such column, a group or a label is missing, a feature is no column
            of numbers, or a number is missing or infinite.

    >>> import pandas
    >>> from pyro_mlvae import GroupedDataset
    >>> table = {"donor": ["ann", "bob", "ann"], "size": [1.0, 2.0, 3.0], "depth": [7, 8, 9]}
    >>> data = GroupedDataset.from_dataframe(pandas.DataFrame(table), group="donor")
    >>> data.group_names, data.feature_names, data.x[2]
    (('ann', 'bob'), ('size', 'depth'), tensor([3., 9.], dtype=torch.float64))
    """
    columns, levels = _columns(frame)
    roles = {"group": group, "label": label, "parent": parent}
    named = {role: name for role, name in roles.items() if name is not None}
    for role, name in named.items():
        require_column(role, name, [*columns, *levels])
    if features is None:
        features = _default_features(columns, set(named.values()))
    else:
        _check_features(features, columns, named)
    x = _matrix({name: columns[name] for name in features}, missing)
    found = {role: (columns | levels)[name] for role, name in named.items()}
    if parent is not None:
        found["parent"] = _parents(parent, found["group"], found["parent"])
    data: GroupedDataset = cls.from_arrays(x, **found, missing=missing)
    return replace(data, feature_names=tuple(features))


def require_column(role: str, name: object, there: Collection[str]) -> None:
    """Raise :class:`InputError` where no column has that name; the sentence names those there are.

    >>> require_column("group", "doner", ["donor", "size"])
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: group must name a column, but none is called 'doner': did you mean
        'donor'? There are 'donor', 'size'
    """
    if not isinstance(name, str):
        raise InputError(f"{role} must be the name of one column, as text, got {name!r:.100}")
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? There are " if near else "there are "
        raise InputError(
            f"{role} must name a column, but none is called {printable(name)!r}: "
            f"{hint}{listed(there)}"
        )


def listed(names: Collection[str]) -> str:
    """The first names of many, for a message.

    >>> listed(["a", "b"])
    "'a', 'b'"
    """
    shown = ", ".join(repr(printable(name[:50])) for name in list(names)[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


def _columns(frame: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of a frame by name, as text, and the named levels of a pandas index."""
    if hasattr(frame, "collect"):
        raise InputError("frame must hold its values, got a lazy one: give frame.collect()")
    names = getattr(frame, "column_names", getattr(frame, "columns", None))  # pyarrow has both
    if names is None or not hasattr(frame, "__len__") or not hasattr(frame, "shape"):
        raise InputError(
            f"frame must be a frame of pandas or polars, or a table of pyarrow, got a "
            f"{type(frame).__name__}: GroupedDataset.from_arrays takes arrays"
        )
    texts = [str(name) for name in names]
    _require_distinct("columns", texts)
    index: Any = getattr(frame, "index", None)
    levels = {str(name): name for name in getattr(index, "names", ()) if name is not None}
    return (
        {text: frame[name] for text, name in zip(texts, names, strict=True)},
        {text: index.get_level_values(name) for text, name in levels.items() if text not in texts},
    )


def _default_features(columns: Mapping[str, Any], named: set[str]) -> list[str]:
    """The columns of numbers that have no other part to play; the log names the rest."""
    rest = [name for name in columns if name not in named]
    found = [
        name
        for name in rest
        if name not in _ROW_NUMBERS
        and not name.startswith("__index_level_")
        and not _is_category(columns[name])
        and (numbers := _numbers(columns[name])) is not None
        and numbers.dtype.kind != "b"
    ]
    if not found:
        raise InputError(
            f"the table must have a column of numbers beside {listed(named)}, but has "
            f"{listed(rest)}: name the columns of x as features"
        )
    left_out = [name for name in rest if name not in set(found)]
    if left_out:
        _LOG.warning("columns that are not among the features of x: %s", listed(left_out))
    return found


def _check_features(
    features: Sequence[str], columns: Collection[str], named: Mapping[str, str]
) -> None:
    if isinstance(features, str) or not len(features):
        raise InputError(f"features must be a list with the names of columns, got {features!r}")
    for name in features:
        require_column("features", name, columns)
    _require_distinct("features", features)
    for role, name in named.items():
        if name in features:
            raise InputError(
                f"features must not hold {name!r}, the column of the {role}: leave it out"
            )


def _matrix(columns: Mapping[str, Any], missing: str) -> np.ndarray:
    """The columns side by side, ``[N, features]``."""
    found = {}
    for name, column in columns.items():
        numbers = _numbers(column)
        if numbers is None:
            raise InputError(
                f"features must be columns of numbers, but {name!r} holds {_example(column)}: "
                f"convert it, or leave it out"
            )
        bad = np.flatnonzero(np.isinf(numbers) if missing == "mask" else ~np.isfinite(numbers))
        if len(bad):
            raise InputError(
                f"features must have a number everywhere, but column {name!r} has "
                f"{numbers[bad[0]]} for observation {bad[0]} ({len(bad)} in all): fill it, leave "
                f"out the column or its rows, or take NaN for a missing value with missing='mask'"
            )
        found[name] = numbers
    # Whole numbers as int64: uint8 would be taken for pixels.
    dtype = np.result_type(
        *(np.promote_types(numbers.dtype, np.int8) for numbers in found.values())
    )
    return np.stack(list(found.values()), axis=1).astype(dtype)


def _numbers(column: Any) -> np.ndarray | None:
    """The column as numbers, missing ones NaN; None where it holds something else."""
    array = np.asarray(column)
    if array.dtype.kind in "biuf":
        return array
    values = array.tolist() if array.dtype.kind == "O" else ["no number"]
    # Of nullable columns and decimals; a column without any value at all is one of nothing.
    here = [value for value in values if not is_missing(value)]
    if not here or not all(isinstance(value, Real | Decimal) for value in here):
        return None
    if all(isinstance(value, bool) for value in values):
        return array.astype(bool)
    return np.array([np.nan if is_missing(value) else float(value) for value in values])


def _is_category(column: Any) -> bool:
    return str(getattr(column, "dtype", "")) == "category"


def _example(column: Any) -> str:
    """A value of a column that is none of numbers."""
    for value in np.asarray(column).tolist():
        if not is_missing(value) and not isinstance(value, Real | Decimal):
            return repr(value)[:50]
    return "no value at all"


def _parents(name: str, group: Any, parent: Any) -> dict[Hashable, Hashable]:
    """The super-group of each group, from a column that says it of each observation."""
    of_group, groups = factorise("group", group, len(group))
    of_parent, parents = factorise("parent", parent, len(parent))
    found = {
        groups[i]: parents[j]
        for i, j in set(zip(of_group.tolist(), of_parent.tolist(), strict=True))
    }
    differs = [g for i, g in enumerate(groups) if len(of_parent[of_group == i].unique()) > 1]
    if differs:
        raise InputError(
            f"parent must be the same for all observations of a group, but column {name!r} differs "
            f"in {differs[0]!r}: give each group one super-group"
        )
    return found


def _require_distinct(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(
                f"{what} must have names of their own, but {name!r} occurs twice: rename one"
            )
        seen.add(name)
