"""Data sets that are known by name: what they are, how to get them, and what reads them.

Files are fetched, verified and listed by torchvision's own classes, which are imported where they
are used. The paper's faces were MS-Celeb-1M, which was withdrawn; CelebA stands in for it here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.folders import find_images, read_image, read_images, square, stack, unreadable
from pyro_mlvae.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

IDX_FILES = tuple(
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
)
# Whose test labels have this SHA-256: the two data sets call their files by the same names.
_OWNERS = {
    "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5": "mnist",
    "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9": "fashion-mnist",
}
OMNIGLOT_PARTS = ("images_background", "images_evaluation")
CELEBA_LISTS = (
    "identity_CelebA.txt",
    "list_attr_celeba.txt",
    "list_bbox_celeba.txt",
    "list_eval_partition.txt",
    "list_landmarks_align_celeba.txt",
)
LFW_SETS = {
    "funneled": ("lfw-funneled.tgz", "lfw_funneled"),
    "deepfunneled": ("lfw-deepfunneled.tgz", "lfw-deepfunneled"),
}
FACE_SIZE = 64
# What torchvision's readers of IDX files raise for a damaged one.
_DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, AssertionError, RuntimeError, zlib.error)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set before its files are there.

    Attributes:
        name: what ``--data`` calls it.
        title: what its authors call it.
        observations: how many it has.
        groups: how many it has.
        event_shape: of one observation as it is loaded, ``(C, H, W)``.
        download_mb: megabytes to download.
        licence: under which it may be used.
        get: how to get it, a clause for the end of a sentence.
        load: ``load(root, download=False)`` gives the data set.
        missing: which of its files are not below a root; their content is not looked at.
    """

    name: str
    title: str
    observations: int
    groups: int
    event_shape: tuple[int, ...]
    download_mb: int
    licence: str
    get: str
    load: Callable[..., GroupedDataset]
    missing: Callable[[Path], list[Path]]

    def present(self, root: str | Path) -> bool:
        """Whether its files are below ``root``; they are verified only when it is loaded."""
        return not self.missing(Path(root).expanduser())


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
    images, labels, held_out = _load_idx("mnist", "MNIST", root, download)
    return GroupedDataset.from_arrays(images, labels, held_out=held_out)


def load_fashion_mnist(root: str | Path, *, download: bool = False) -> GroupedDataset:
    """Fashion-MNIST: 70,000 pictures of clothes, grouped by class, such as ``Sneaker``.

    Args:
        root: holds ``FashionMNIST/raw/``, as torchvision lays it out, or the four IDX files
            themselves, as they are or as .gz, as in Debian's package dataset-fashion-mnist.
        download: fetch the files where they are missing.

    Returns:
        x uint8 ``[70000, 1, 28, 28]``, groups by class name, the official 10,000 test pictures held out.

    Raises:
        InputError: files are missing or damaged, or cannot be fetched.
    """
    from torchvision.datasets import FashionMNIST

    images, labels, held_out = _load_idx("fashion-mnist", "FashionMNIST", root, download)
    names = [FashionMNIST.classes[label] for label in labels.tolist()]
    return GroupedDataset.from_arrays(images, names, held_out=held_out)


def load_omniglot(root: str | Path, *, download: bool = False, image_size: int = 28) -> GroupedDataset:
    """Omniglot: 20 drawings of each of 1,623 characters, black on white, of 50 alphabets.

    Both of its parts, background and evaluation, are one data set: hold alphabets out by name.

    Args:
        root: holds ``omniglot-py/``, as torchvision lays it out.
        download: fetch the files where they are missing.
        image_size: to which the 105x105 drawings are resized, antialiased.

    Returns:
        x uint8 ``[32460, 1, image_size, image_size]``, groups such as ``Greek/character01``, whose
        super-group is the alphabet.

    Raises:
        InputError: files are missing or damaged, or cannot be fetched.
    """
    from torchvision.datasets import Omniglot
    from torchvision.datasets.utils import check_integrity, extract_archive

    root, info = Path(root).expanduser(), NAMED["omniglot"]
    base = root / Omniglot.folder
    sums = {base / f"{part}.zip": Omniglot.zips_md5[part] for part in OMNIGLOT_PARTS}

    def fetch() -> None:
        for archive, md5 in sums.items():
            if check_integrity(archive, md5) and not archive.with_suffix("").is_dir():
                extract_archive(archive)  # fetched but not unpacked, which torchvision leaves so
            Omniglot(root, background=archive.stem == OMNIGLOT_PARTS[0], download=True)

    if download:
        _download(info, root, fetch)
    _require(info, root)
    files, groups = [], []
    for archive in sums:
        part = _open(info, sums, partial(Omniglot, root, archive.stem == OMNIGLOT_PARTS[0]))
        found = find_images(Path(part.target_folder))
        with zipfile.ZipFile(archive) as packed:
            names = [PurePosixPath(name) for name in packed.namelist()]
        count = sum(name.suffix == ".png" and not name.name.startswith(".") for name in names)
        if len(found) < count:
            raise InputError(
                f"{part.target_folder} holds {len(found)} drawings of {count}: unpack {archive} again"
            )
        files += found
        groups += [f"{file.parent.parent.name}/{file.parent.name}" for file in found]
    x = _read(files, base, "L", square(image_size))
    return GroupedDataset.from_arrays(x, groups, parent={group: group.split("/")[0] for group in groups})


def load_celeba(root: str | Path, *, download: bool = False) -> GroupedDataset:
    """CelebA: 202,599 faces of 10,177 people, grouped by person.

    It stands in for MS-Celeb-1M, the faces of the paper, which was withdrawn. Its official partition
    is not taken over: hold people out by a fraction of the groups. In memory it takes 2.5 GB.

    Args:
        root: holds ``celeba/``, as torchvision lays it out.
        download: fetch the files where they are missing, from Google Drive by gdown.

    Returns:
        x uint8 ``[202599, 3, 64, 64]``, the centre square of 148 of the 178x218 aligned pictures,
        resized; groups by the number of the person.

    Raises:
        InputError: files are missing or damaged, or cannot be fetched.
    """
    from torchvision.datasets import CelebA

    root, info = Path(root).expanduser(), NAMED["celeba"]
    base = root / CelebA.base_folder
    if download:
        if not info.present(root) and importlib.util.find_spec("gdown") is None:
            raise InputError(
                "--download of CelebA needs the package gdown, which is missing: run pip install gdown"
            )
        _download(info, root, lambda: CelebA(root, split="all", download=True))
    _require(info, root)
    sums = {base / name: md5 for _, md5, name in CelebA.file_list if name in CELEBA_LISTS}
    faces = _open(info, sums, lambda: CelebA(root, split="all"))
    files = [base / "img_align_celeba" / name for name in faces.filename]
    return GroupedDataset.from_arrays(_read(files, base, "RGB", _face(148)), faces.identity[:, 0])


def load_lfw(root: str | Path, *, download: bool = False) -> GroupedDataset:
    """Labeled Faces in the Wild: 13,233 faces of 5,749 people, grouped by person.

    Nobody serves its files to torchvision any more: they are put in place by hand.

    Args:
        root: holds ``lfw-py/``, as torchvision lays it out: people.txt, lfw-names.txt, and the
            archive of the funneled or else the deepfunneled pictures, also unpacked.
        download: not possible; what is there is loaded.

    Returns:
        x uint8 ``[13233, 3, 64, 64]``, the centre square of 150 of the 250x250 pictures (the face
        that was detected is the centre square of 114), resized; groups by name.

    Raises:
        InputError: files are missing or damaged.
    """
    from torchvision.datasets import LFWPeople

    root, info = Path(root).expanduser(), NAMED["lfw"]
    base = root / LFWPeople.base_folder
    _require(info, root)
    kind = next(kind for kind, names in LFW_SETS.items() if all((base / name).exists() for name in names))
    _, archive, md5 = LFWPeople.file_dict[kind]
    sums = {base / name: LFWPeople.checksums[name] for name in ("people.txt", "lfw-names.txt")}
    faces = _open(info, {base / archive: md5, **sums}, lambda: LFWPeople(str(root), "10fold", kind))
    names = {number: name for name, number in faces.class_to_idx.items()}
    files = [Path(file) for file in faces.data]
    return GroupedDataset.from_arrays(
        _read(files, base, "RGB", _face(150)), [names[i] for i in faces.targets]
    )


def _face(crop: int) -> Callable[[Image.Image], Image.Image]:
    from torchvision.transforms import functional

    return lambda image: functional.resize(functional.center_crop(image, [crop]), [FACE_SIZE, FACE_SIZE])


def _read(
    files: Sequence[Path], base: Path, mode: str, fit: Callable[[Image.Image], Image.Image] | None
) -> np.ndarray:
    images, bad = read_images(files, base, lambda file: read_image(file, mode, fit), FACE_SIZE)
    if bad:
        raise InputError(f"{unreadable(bad, len(files), base)}: unpack their archive again")
    return stack(images)


def _download(info: DatasetInfo, root: Path, fetch: Callable[[], object]) -> None:
    try:
        fetch()
    except Exception as error:  # torchvision, gdown and the network raise errors of every kind
        why = " ".join(str(error).split())[:200]
        raise InputError(
            f"{info.title} could not be downloaded to {root} ({why}): check the connection and the "
            f"space on the disk ({info.download_mb} MB), and try again"
        ) from error


def _require(info: DatasetInfo, root: Path) -> None:
    missing = info.missing(root)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{info.title} was not found under {root} (missing: {missing[0]}{more}): give the right "
            f"--data-root, or {info.get} ({info.download_mb} MB, licence: {info.licence})"
        )


def _open(info: DatasetInfo, checksums: Mapping[Path, str], make: Callable[[], Any]) -> Any:
    """A data set of torchvision's, whose files are there but need not be sound."""
    from torchvision.datasets.utils import check_integrity

    try:
        return make()
    except (RuntimeError, OSError, ValueError, IndexError, KeyError) as error:
        wrong = [str(file) for file, md5 in checksums.items() if not check_integrity(file, md5)]
        why = f"the MD5 of {wrong[0]} is not the published one" if wrong else " ".join(str(error).split())
        raise InputError(f"{info.title} is damaged ({why}): remove that file, and {info.get}") from None


def _load_idx(name: str, folder: str, at: str | Path, download: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Images ``[N, 1, H, W]``, labels ``[N]`` and which are for tests, of MNIST or what looks like it."""
    from torchvision import datasets
    from torchvision.datasets.mnist import read_image_file, read_label_file

    root, info = Path(at).expanduser(), NAMED[name]
    if download and not info.present(root):
        _download(info, root, lambda: getattr(datasets, folder)(root, download=True))
    _require(info, root)
    files = [_idx_file(root, folder, file) for file in IDX_FILES]
    train_x, train_y, test_x, test_y = (
        _read_idx(info, file, read)
        for file, read in zip(files, (read_image_file, read_label_file) * 2, strict=True)
    )
    owner = _OWNERS.get(hashlib.sha256(test_y.byte().numpy().tobytes()).hexdigest(), name)
    if owner != name:
        raise InputError(
            f"the files in {files[0].parent} are those of {owner}: load them with --data {owner}"
        )
    for file, x, y in ((files[0], train_x, train_y), (files[2], test_x, test_y)):
        if x.shape != (len(y), 28, 28) or y.max() > 9:
            raise InputError(_damaged(info, file, "its pictures and their labels do not match"))
    images, labels = torch.cat([train_x, test_x]).unsqueeze(1), torch.cat([train_y, test_y])
    return images, labels, torch.arange(len(labels)) >= len(train_y)


def _read_idx(info: DatasetInfo, file: Path, read: Callable[[str], Tensor]) -> Tensor:
    from torchvision.datasets.utils import extract_archive

    try:
        if file.suffix != ".gz":
            return read(str(file))
        with tempfile.TemporaryDirectory() as folder:
            extract_archive(file, folder)
            return read(str(Path(folder, file.stem)))
    except _DAMAGED:
        raise InputError(_damaged(info, file, "it is no whole IDX file")) from None


def _damaged(info: DatasetInfo, file: Path, why: str) -> str:
    return f"{info.title} is damaged in {file} ({why}): remove that file, and {info.get}"


def _idx_file(root: Path, folder: str, name: str) -> Path:
    """Where an IDX file is, or else where torchvision expects it."""
    usual = root / folder / "raw" / name
    places = [usual, usual.with_name(f"{name}.gz"), root / name, root / f"{name}.gz"]
    return next((place for place in places if place.is_file()), usual)


def _missing_idx(folder: str) -> Callable[[Path], list[Path]]:
    return lambda root: [
        file for file in (_idx_file(root, folder, name) for name in IDX_FILES) if not file.is_file()
    ]


def _missing_omniglot(root: Path) -> list[Path]:
    parts = [root / "omniglot-py" / part for part in OMNIGLOT_PARTS]
    return _absent([*(part.with_suffix(".zip") for part in parts), *parts])


def _missing_celeba(root: Path) -> list[Path]:
    return _absent([root / "celeba" / name for name in ("img_align_celeba", *CELEBA_LISTS)])


def _missing_lfw(root: Path) -> list[Path]:
    base = root / "lfw-py"
    lists = _absent([base / "people.txt", base / "lfw-names.txt"])
    return min((_absent([base / name for name in names]) + lists for names in LFW_SETS.values()), key=len)


def _absent(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if not file.exists()]


_DIGITS, _FACES = (1, 28, 28), (3, FACE_SIZE, FACE_SIZE)
_FETCH = "fetch it with --download"
# fmt: off
_TABLE = (
    DatasetInfo(
        "mnist", "MNIST", 70_000, 10, _DIGITS, 12, "CC BY-SA 3.0", _FETCH, load_mnist, _missing_idx("MNIST")
    ),
    DatasetInfo(
        "fashion-mnist", "Fashion-MNIST", 70_000, 10, _DIGITS, 31, "MIT",
        f"{_FETCH}, or install Debian's dataset-fashion-mnist and give --data-root "
        "/usr/share/datasets/fashion-mnist", load_fashion_mnist, _missing_idx("FashionMNIST"),
    ),
    DatasetInfo(
        "omniglot", "Omniglot", 32_460, 1_623, _DIGITS, 16, "MIT", _FETCH, load_omniglot, _missing_omniglot
    ),
    DatasetInfo(
        "celeba", "CelebA", 202_599, 10_177, _FACES, 1_495, "non-commercial research only",
        f"{_FETCH}, which needs the package gdown", load_celeba, _missing_celeba,
    ),
    DatasetInfo(
        "lfw", "Labeled Faces in the Wild", 13_233, 5_749, _FACES, 243, "none stated, meant for research",
        "put lfw-funneled.tgz, unpacked too, people.txt and lfw-names.txt into lfw-py there by hand "
        "(--download cannot), or give pictures that lie in one folder a person as --data folder:PATH",
        load_lfw, _missing_lfw,
    ),
)
# fmt: on
NAMED: dict[str, DatasetInfo] = {info.name: info for info in _TABLE}
