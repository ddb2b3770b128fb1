"""MNIST and what comes in its format, IDX: pictures of 28x28 and their classes."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.info import DAMAGED, FETCH, DatasetInfo, damaged, fetch_files, require_files
from pyro_mlvae.errors import InputError

IDX_FILES = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)
_MOST_BYTES = 16 + 60_000 * 28 * 28
# Whose test labels have this SHA-256: the two data sets call their files by the same names.
_OWNERS = {
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": "mnist",
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": "fashion-mnist",
}


def load_mnist(root: str | Path, *, download: bool = False) -> GroupedDataset:
    """MNIST: 70,000 handwritten digits, grouped by digit.

    Args:
        root: holds ``MNIST/raw/``, as torchvision lays it out, or the four IDX files themselves, as
            they are or as .gz.
        download: fetch the files where they are missing.

    Returns:
        x uint8 ``[70000, 1, 28, 28]``, groups 0 to 9, the official 10,000 test digits held out.

    Raises:
        InputError: files are missing or damaged, or cannot be fetched.
    """
    images, labels, held_out = _load_idx(MNIST, "MNIST", root, download)
    return GroupedDataset.from_arrays(images, labels, held_out=held_out)


def load_fashion_mnist(root: str | Path, *, download: bool = False) -> GroupedDataset:
    """Fashion-MNIST: 70,000 pictures of clothes, grouped by class, such as ``Sneaker``.

    Args:
        root: holds ``FashionMNIST/raw/``, as torchvision lays it out, or the four IDX files
            themselves, as they are or as .gz, as in Debian's package dataset-fashion-mnist.
        download: fetch the files where they are missing.

    Returns:
        x uint8 ``[70000, 1, 28, 28]``, groups by class name, the official 10,000 test pictures held
        out.

    Raises:
        InputError: files are missing or damaged, or cannot be fetched.
    """
    from torchvision.datasets import FashionMNIST

    images, labels, held_out = _load_idx(FASHION_MNIST, "FashionMNIST", root, download)
    names = [FashionMNIST.classes[label] for label in labels.tolist()]
    return GroupedDataset.from_arrays(images, names, held_out=held_out)


def _load_idx(
    info: DatasetInfo, folder: str, root: str | Path, download: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``[N, 1, H, W]``, labels ``[N]``, and which of them are for tests."""
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    root = Path(root).expanduser()
    if download and not info.present(root):
        fetch_files(info, root, lambda: getattr(datasets, folder)(root, download=True))
    require_files(info, root)
    files = [_idx_file(root, folder, file) for file in IDX_FILES]
    train_x, train_y, test_x, test_y = (
        _read_idx(info, file, read)
        for file, read in zip(files, (read_image_file, read_label_file) * 2, strict=True)
    )
    owner = _OWNERS.get(hashlib.sha256(test_y.byte().numpy().tobytes()).hexdigest(), info.name)
    if owner != info.name:
        raise InputError(
            f"the files in {files[0].parent} are those of {owner}: load them with --data {owner}"
        )
    for file, x, y in ((files[0], train_x, train_y), (files[2], test_x, test_y)):
        if x.shape != (len(y), 28, 28) or y.max() > 9:
            raise InputError(damaged(info, file, "its pictures and their labels do not match"))
    images, labels = torch.cat([train_x, test_x]).unsqueeze(1), torch.cat([train_y, test_y])
    return images, labels, torch.arange(len(labels)) >= len(train_y)


def _read_idx(info: DatasetInfo, file: Path, read: Callable[[str], Tensor]) -> Tensor:
    try:
        with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError("larger than the largest of these files")
        with tempfile.NamedTemporaryFile() as unpacked:
            unpacked.write(content)
            unpacked.flush()
            return read(unpacked.name)
    except DAMAGED:
        raise InputError(damaged(info, file, "it is no whole IDX file")) from None


def _idx_file(root: Path, folder: str, name: str) -> Path:
    """Where an IDX file is, or else where torchvision expects it."""
    usual = root / folder / "raw" / name
    places = [usual, usual.with_name(f"{name}.gz"), root / name, root / f"{name}.gz"]
    return next((place for place in places if place.is_file()), usual)


def _missing_idx(folder: str) -> Callable[[Path], list[Path]]:
    return lambda root: [
        file for file in (_idx_file(root, folder, name) for name in IDX_FILES) if not file.is_file()
    ]


MNIST = DatasetInfo(
    "mnist",
    "MNIST",
    observations=70_000,
    groups=10,
    event_shape=(1, 28, 28),
    download_mb=12,
    licence="CC BY-SA 3.0",
    get=FETCH,
    load=load_mnist,
    missing=_missing_idx("MNIST"),
    ink=True,
)
FASHION_MNIST = DatasetInfo(
    "fashion-mnist",
    "Fashion-MNIST",
    observations=70_000,
    groups=10,
    event_shape=(1, 28, 28),
    download_mb=31,
    licence="MIT",
    get=f"{FETCH}, or install Debian's dataset-fashion-mnist and give "
    "--data-root /usr/share/datasets/fashion-mnist",
    load=load_fashion_mnist,
    missing=_missing_idx("FashionMNIST"),
)
