"""Tables in files: csv and parquet, read by pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.tables import listed
from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.files import find_path

# What stands between the columns of a csv file, the likeliest first.
_DELIMITERS = ",;\t|"
_MOST_HEADER = 1_000_000


@dataclass(frozen=True)
class TableColumns:
    """Which columns of a table are what, see :meth:`GroupedDataset.from_dataframe`.

    Attributes:
        group: the column of groups; a table has to have one.
        label: the column of evaluation labels.
        parent: the column of super-groups.
        features: the columns of x; by default those of numbers.
    """

    group: str | None = None
    label: str | None = None
    parent: str | None = None
    features: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether any column is named."""
        return any((self.group, self.label, self.parent, self.features))


def load_csv(path: str | Path, columns: TableColumns, *, missing: str = "refuse") -> GroupedDataset:
    """The table in a csv file with one line of names; gz and bz2 files are unpacked.

    Args:
        path: the file, UTF-8. What stands between the columns is found in the line of names: a
            comma, a semicolon, a tab or a bar.
        columns: which columns are what. Names of groups, labels and super-groups are whole numbers
            where all of a column are, and otherwise text, so that 007 stays 007; where the text is
            empty, it is missing.
        missing: "refuse" numbers that are missing, or "mask": they are NaN in x.

    Raises:
        InputError: there is no such file, it is no csv file, pyarrow is not installed, or the table
            cannot be read as data, see :meth:`GroupedDataset.from_dataframe`.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "cells.csv"
    >>> _ = file.write_text("donor,size,depth\\nann,1.5,3\\nbob,2.5,4\\nann,3.5,5\\n")
    >>> data = load_csv(file, TableColumns("donor"))
    >>> data.group_names, data.feature_names, data.x[2]
    (('ann', 'bob'), ('size', 'depth'), tensor([3.5000, 5.0000], dtype=torch.float64))
    """
    path = _file("csv", path)
    with _reading("csv", path) as pyarrow:
        from pyarrow import csv

        names = [name for name in (columns.group, columns.label, columns.parent) if name]
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(
                delimiter=_delimiter(pyarrow, path), newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string())),
        )
        for name in set(names) & set(table.column_names):
            place = table.column_names.index(name)
            table = table.set_column(place, name, _names(pyarrow, table.column(place)))
    return _data_set(path, table, columns, missing)


def load_parquet(
    path: str | Path, columns: TableColumns, *, missing: str = "refuse"
) -> GroupedDataset:
    """The table in a parquet file, of which only the columns that are asked for are read.

    Args:
        path: the file.
        columns: which columns are what.
        missing: as for :func:`load_csv`.

    Raises:
        InputError: there is no such file, it is no parquet file, pyarrow is not installed, or the
            table cannot be read as data, see :meth:`GroupedDataset.from_dataframe`.

    >>> import tempfile, pandas
    >>> file = Path(tempfile.mkdtemp()) / "cells.parquet"
    >>> pandas.DataFrame({"donor": ["ann", "bob"], "size": [1.5, 2.5]}).to_parquet(file)
    >>> load_parquet(file, TableColumns("donor")).feature_names
    ('size',)
    """
    path = _file("parquet", path)
    with _reading("parquet", path):
        from pyarrow import parquet

        wanted = [columns.group, columns.label, columns.parent, *columns.features]
        there = parquet.read_schema(path).names
        # All of them where one is missing: the sentence about it names those that there are.
        few = [name for name in wanted if name] if columns.features and columns.group else None
        known = few is not None and set(few) <= set(there)
        table = parquet.read_table(
            path, columns=list(dict.fromkeys(few)) if known and few else None
        )
    return _data_set(path, table, columns, missing)


def _file(kind: str, path: str | Path) -> Path:
    found = find_path(path)
    if not found.is_file():
        hint = "name one file in it" if found.is_dir() else "check the path"
        raise InputError(f"there is no {kind} file {found}: {hint}")
    return found


@contextmanager
def _reading(kind: str, path: Path) -> Iterator[Any]:
    """pyarrow, whose errors about a file become one sentence."""
    try:
        import pyarrow
    except ImportError:
        raise InputError(
            f"{kind}:PATH takes pyarrow, which is not installed: pip install 'pyro-mlvae[tables]'"
        ) from None
    try:
        yield pyarrow
    except InputError:
        raise
    except MemoryError:
        raise InputError(
            f"{path} is larger than memory: save x by numpy.save, and give the folder as npy:DIR"
        ) from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        why = printable(" ".join(str(error).split())[:200])
        raise InputError(
            f"{path} cannot be read as a {kind} file ({why}): check that it is one, with a name "
            f"for every column"
        ) from None


def _delimiter(pyarrow: Any, path: Path) -> str:
    """What stands between the names of the first line: whatever occurs most in it."""
    with pyarrow.input_stream(str(path)) as stream:
        first = stream.read(_MOST_HEADER).split(b"\n", 1)[0].decode("utf-8", "replace")
    return max(_DELIMITERS, key=first.count)


def _names(pyarrow: Any, column: Any) -> Any:
    """A column of text, with None for empty text; as whole numbers where each is written as one."""
    values = [value or None for value in column.to_pylist()]
    whole = all(_is_whole_number(value) for value in values if value is not None)
    return pyarrow.array(values, pyarrow.string()).cast(
        pyarrow.int64() if whole else pyarrow.string()
    )


def _is_whole_number(text: str) -> bool:
    """Whether it is written as a number is: 7, but not 007. Longer ones are no 64-bit integers."""
    return text.isascii() and text.isdigit() and len(text) < 19 and str(int(text)) == text


def _data_set(path: Path, table: Any, columns: TableColumns, missing: str) -> GroupedDataset:
    if columns.group is None:
        raise InputError(
            f"{path} must have a column that says the group of each row: name it with "
            f"--group-column, one of {listed(table.column_names)}"
        )
    try:
        return GroupedDataset.from_dataframe(
            table,
            columns.group,
            columns.label,
            parent=columns.parent,
            features=columns.features or None,
            missing=missing,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
