"""Every data set by one word: a known name, or where one's own data lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from pyro_mlvae.data.arrays import load_npy, load_npz
from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.folders import load_folder
from pyro_mlvae.data.generated import load_linear_gaussian
from pyro_mlvae.data.glyphs import load_glyphs
from pyro_mlvae.data.named import NAMED
from pyro_mlvae.data.table_files import TableColumns, load_csv, load_parquet
from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.files import find_path


def load_digits() -> GroupedDataset:
    """scikit-learn's 1,797 handwritten digits, 1x8x8 grey pixels in [0, 1], grouped by digit."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16.0
    return GroupedDataset.from_arrays(images, digits.target)


EMBEDDED = {"digits": load_digits, "glyphs": load_glyphs, "linear-gaussian": load_linear_gaussian}
TABLES = {"csv": load_csv, "parquet": load_parquet}
# Of those that are embedded, ink on paper; the entries of named data sets say so themselves.
INK = frozenset({"digits", "glyphs"})
# What --data takes for a user's own data, and what each of them is.
OWN = {
    "folder:PATH": "images; the folder that holds one is its group, that folder's own the "
    "super-group",
    "npz:PATH": "arrays x, group and optionally label in one .npz file",
    "npy:DIR": "x.npy, group.npy and optionally label.npy, read from disk as they are needed",
    "csv:PATH": "a table with a column of groups, --group-column; columns of numbers are x",
    "parquet:PATH": "the same",
}


def load_dataset(
    name: str,
    root: str | Path = "data",
    *,
    download: bool = False,
    image_size: int | None = None,
    grayscale: bool = False,
    skip_bad: bool = False,
    columns: TableColumns | None = None,
    missing: str = "refuse",
) -> GroupedDataset:
    """The data set of that name, or at that place.

    Args:
        name: ``digits``, ``glyphs``, ``linear-gaussian``, ``mnist``, ``fashion-mnist``,
            ``omniglot``, ``celeba``, ``lfw``; ``folder:PATH``, ``npz:PATH``, ``npy:DIR``,
            ``csv:PATH`` and ``parquet:PATH``.
        root: where the files of named data sets are.
        download: whether they may be fetched.
        image_size: the side to which the images of a folder are resized and cropped.
        grayscale: whether they are turned grey.
        skip_bad: whether those that cannot be read are left out, with a warning in the log.
        columns: which columns of a csv or parquet file say the group and the rest.
        missing: "refuse" NaN in arrays and tables, or "mask": it marks a missing value.

    Raises:
        InputError: the name is not known (the sentence suggests the nearest), or what it names is
            missing or damaged.

    >>> load_dataset("digits").event_shape
    torch.Size([1, 8, 8])
    """
    kind, _, place = name.partition(":")
    if kind == "folder" and place:
        return load_folder(place, image_size=image_size, grayscale=grayscale, skip_bad=skip_bad)
    if image_size is not None or grayscale or skip_bad:
        raise InputError(
            "image_size, grayscale and skip_bad say how the images of folder:PATH are read, but "
            f"the data is {name}: leave them out"
        )
    if kind in TABLES and place:
        return TABLES[kind](place, columns or TableColumns(), missing=missing)
    if columns:
        raise InputError(
            f"columns of groups, labels and features say how csv:PATH or parquet:PATH is read, but "
            f"the data is {name}: leave them out"
        )
    if kind == "npz" and place:
        return load_npz(place, missing=missing)
    if kind == "npy" and place:
        return load_npy(place, missing=missing)
    if name in EMBEDDED:
        return replace(EMBEDDED[name](), ink=is_ink(name))
    if name not in NAMED:
        raise unknown_name("data set", name, [*EMBEDDED, *NAMED, *OWN])
    return replace(NAMED[name].load(find_path(root), download=download), ink=is_ink(name))


def is_ink(name: str) -> bool:
    """Whether a data set is ink on paper, of which 0 is the paper; a user's own is not known to be.

    >>> is_ink("digits"), is_ink("fashion-mnist"), is_ink("folder:faces")
    (True, False, False)
    """
    return name in INK or (name in NAMED and NAMED[name].ink)
