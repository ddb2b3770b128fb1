"""A user's own arrays x, group and perhaps label: one npz file, or a folder of npy files.

Nothing is unpickled, and no header is believed: an array's size is compared with that of the file
that is to hold it before anything is allocated.
"""

from __future__ import annotations

import io
import math
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.files import find_path, memory_size

REQUIRED = ("x", "group")
NAMES = (*REQUIRED, "label")
FIELDS = ("of_groups.", "of_observations.")
# Deflate packs at most this many bytes into one; a member that claims more is made up.
_MOST_PACKED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
# What reading a damaged file raises, besides InputError.
_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted member, or an unknown compression
    zipfile.BadZipFile,
    zlib.error,
)
# A header of numpy's is at most so long.
_MOST_HEADER = 16_384


def load_npz(path: str | Path, *, missing: str = "refuse") -> GroupedDataset:
    """The arrays ``x``, ``group`` and, if there, ``label`` of an npz file; others are not read.

    Args:
        path: the file, as :func:`numpy.savez` or :func:`numpy.savez_compressed` writes it: x
            ``[N, *event_shape]``, group and label ``[N]`` of numbers or text; and fields, as arrays
            named ``of_groups.NAME`` and ``of_observations.NAME``, see
            :meth:`GroupedDataset.from_arrays`.
        missing: "refuse" NaN in x, or "mask": NaN marks a missing value.

    Returns:
        The data set, in memory; uint8 stays uint8.

    Raises:
        InputError: there is no such file, it is no npz file or a damaged one, lacks x or group,
            holds pickled objects, or its arrays differ in length.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "cells.npz"
    >>> np.savez(file, x=np.eye(3, dtype=np.float32), group=["ann", "bob", "ann"])
    >>> data = load_npz(file)
    >>> data.event_shape, data.group_names
    (torch.Size([3]), ('ann', 'bob'))
    """
    path = find_path(path)
    if not path.is_file():
        hint = "npy:DIR reads a folder of npy files" if path.is_dir() else "check the path"
        raise InputError(f"there is no npz file {path}: {hint}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            found = {name: members[f"{name}.npy"] for name in _known(members)}
            _require(path, found, [name.removesuffix(".npy") for name in members])
            arrays = {}
            for name, info in found.items():
                packed = min(info.compress_size, path.stat().st_size)
                if info.file_size > packed * _MOST_PACKED.get(info.compress_type, 0):
                    raise InputError(
                        _damaged(f"{path}: {name}", "its zip entry claims an impossible size")
                    )
                with archive.open(info) as file:
                    _check_header(f"{path}: {name}", name, file, info.file_size)
                    if info.file_size > memory_size():
                        raise MemoryError
                # The member whose header was checked, whatever else goes by that name.
                with archive.open(info) as file:
                    arrays[name] = np.load(file, allow_pickle=False)
        return _data_set(path, arrays, missing)
    except InputError:
        raise
    except _DAMAGED as error:
        if not zipfile.is_zipfile(path):
            raise InputError(
                f"{path} is not an npz file: write it with numpy.savez(file, x=x, group=group)"
            ) from None
        raise InputError(_damaged(path, error)) from None
    except MemoryError:
        raise InputError(
            f"the arrays in {path} are larger than memory: save each by numpy.save, and give the "
            "folder as npy:DIR, which leaves x on disk"
        ) from None


def load_npy(folder: str | Path, *, missing: str = "refuse") -> GroupedDataset:
    """The arrays in ``x.npy``, ``group.npy`` and, where it is there, ``label.npy`` of a folder.

    Args:
        folder: where they are, each as :func:`numpy.save` writes it: x ``[N, *event_shape]``, group
            and label ``[N]`` of numbers or text.
        missing: as for :func:`load_npz`.

    Returns:
        The data set, whose x stays on disk, memory-mapped; uint8 stays uint8.

    Raises:
        InputError: there is no such folder, x or group is not there, or is damaged, x is in Fortran
            order, one holds pickled objects, or the arrays differ in length.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "x.npy", np.zeros((3, 1, 28, 28), dtype=np.uint8))
    >>> np.save(folder / "group.npy", ["ann", "bob", "ann"])
    >>> data = load_npy(folder)
    >>> data.event_shape, data.on_disk
    (torch.Size([1, 28, 28]), True)
    """
    folder = find_path(folder)
    if not folder.is_dir():
        hint = "npz:PATH reads an npz file" if folder.is_file() else "check the path"
        raise InputError(f"there is no folder {folder} of npy files: {hint}")
    found = {
        name: folder / f"{name}.npy" for name in _known(file.name for file in folder.glob("*.npy"))
    }
    _require(folder, found, [file.name for file in sorted(folder.glob("*.npy"))])
    arrays = {}
    for name, path in found.items():
        try:
            with path.open("rb") as file:
                shape, fortran = _check_header(path, name, file, path.stat().st_size)
            if name == "x" and fortran and len(shape) > 1:
                raise InputError(
                    f"{path} is in Fortran order, in which one observation is scattered over all "
                    "of the file: write it with numpy.save(file, numpy.ascontiguousarray(x))"
                )
            # An empty file cannot be mapped.
            mapped = name == "x" and 0 not in shape
            arrays[name] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        except InputError:
            raise
        except _DAMAGED as error:
            raise InputError(_damaged(path, error)) from None
        except MemoryError:
            raise InputError(f"{path} is larger than memory: only x stays on disk") from None
    return _data_set(folder, arrays, missing)


def _known(files: Iterable[str]) -> list[str]:
    """The arrays that are read: x, group, label, and the fields."""
    names = sorted(file.removesuffix(".npy") for file in files if file.endswith(".npy"))
    fields = [name for name in names if name.startswith(FIELDS)]
    return [*(name for name in NAMES if name in names), *fields]


def _require(path: Path, found: Mapping[str, object], there: list[str]) -> None:
    for name in REQUIRED:
        if name not in found:
            held = ", ".join(printable(name[:50]) for name in there[:10]) or "nothing"
            raise InputError(
                f"{path} must hold the arrays x and group, but has no {name} (it holds {held}): "
                "add it under that name"
            )


def _check_header(
    where: str | Path, name: str, file: Any, size: int
) -> tuple[tuple[int, ...], bool]:
    """The shape of the array whose npy file begins here, and whether it is in Fortran order."""
    # The length that a header says it has is not believed either.
    head = io.BytesIO(file.read(_MOST_HEADER))
    version = npy.read_magic(head)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise InputError(
            f"{where} is in version {version[0]}.{version[1]} of the npy format, which only arrays "
            "with named fields need: save a plain array"
        )
    try:
        shape, fortran, dtype = read(head)
    except Exception as error:  # what is no header makes numpy raise errors of every kind
        raise InputError(_damaged(where, error)) from None
    if dtype.hasobject:
        raise InputError(
            f"{where} holds pickled Python objects, which are never loaded because they can run "
            "code: save numbers or text, such as "
            f"{name}.astype({'numpy.float32' if name == 'x' else 'str'})"
        )
    expected, there = math.prod(shape) * dtype.itemsize, size - head.tell()
    # Of what takes no bytes there could be any number.
    if min(shape, default=0) < 0 or expected != there or not dtype.itemsize:
        promise = f"its header promises {list(shape)} of {dtype}, {expected} bytes"
        raise InputError(_damaged(where, f"{promise}, of which {there} are there"))
    return shape, fortran


def _damaged(where: str | Path, why: object) -> str:
    return f"{where} is damaged ({printable(' '.join(str(why).split())[:200])}): write it again"


def _data_set(path: Path, arrays: dict[str, np.ndarray], missing: str) -> GroupedDataset:
    for name in arrays.keys() & {"group", "label"}:
        if arrays[name].ndim != 1:
            raise InputError(
                f"{path}: {name} must be one-dimensional, with one entry for each observation of "
                f"x, got shape {list(arrays[name].shape)}"
            )
    try:
        label = _text(arrays["label"]) if "label" in arrays else None
        fields: dict[str, Any] = {"of_groups": {}, "of_observations": {}}
        for name in arrays:
            kind, _, key = name.partition(".")
            if kind in fields:
                fields[kind][key] = arrays[name]
        group = _text(arrays["group"])
        return GroupedDataset.from_arrays(arrays["x"], group, label, missing=missing, **fields)
    except ValueError as error:  # an InputError, or text that is none
        raise InputError(f"{path}: {error}") from None


def _text(array: np.ndarray) -> np.ndarray:
    """Bytes, in which text is stored where memory matters, as the text that they are."""
    if array.dtype.kind == "U":
        # NumPy takes any number for a letter, and fails on it later.
        letters = np.ascontiguousarray(array).view(f"{array.dtype.byteorder}u4")
        if letters.max(initial=0) > sys.maxunicode:
            raise ValueError("the names of groups or labels are no text: write them again")
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
