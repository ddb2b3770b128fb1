"""Data sets that are known by name: what they are, how to get them, and what reads them.

Files are fetched, verified and listed by torchvision's own classes, which are imported where they
are used. The paper's faces were MS-Celeb-1M, which was withdrawn; CelebA stands in for it here.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.folders import find_images
from pyro_mlvae.data.idx import FASHION_MNIST, MNIST
from pyro_mlvae.data.images import read_image, read_images, square, stack, unreadable
from pyro_mlvae.data.info import FETCH, DatasetInfo, fetch_files, open_files, require_files
from pyro_mlvae.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

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


def load_omniglot(
    root: str | Path, *, download: bool = False, image_size: int = 28
) -> GroupedDataset:
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
        fetch_files(info, root, fetch)
    require_files(info, root)
    files, groups = [], []
    for archive in sums:
        part = open_files(info, sums, partial(Omniglot, root, archive.stem == OMNIGLOT_PARTS[0]))
        found = find_images(Path(part.target_folder))
        with zipfile.ZipFile(archive) as packed:
            names = [PurePosixPath(name) for name in packed.namelist()]
        count = sum(name.suffix == ".png" and not name.name.startswith(".") for name in names)
        if len(found) < count:
            raise InputError(
                f"{part.target_folder} holds {len(found)} drawings of {count}: unpack {archive} "
                "again"
            )
        files += found
        groups += [f"{file.parent.parent.name}/{file.parent.name}" for file in found]
    x = _read(files, base, "L", square(image_size))
    return GroupedDataset.from_arrays(
        x, groups, parent={group: group.split("/")[0] for group in groups}
    )


def load_celeba(root: str | Path, *, download: bool = False) -> GroupedDataset:
    """CelebA: 202,599 faces of 10,177 people, grouped by person.

    It stands in for MS-Celeb-1M, the faces of the paper, which was withdrawn. Its official
    partition is not taken over: hold people out by a fraction of the groups. In memory it takes 2.5
    GB.

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
                "--download of CelebA needs the package gdown, which is missing: run pip install "
                "gdown"
            )
        fetch_files(info, root, lambda: CelebA(root, split="all", download=True))
    require_files(info, root)
    sums = {base / name: md5 for _, md5, name in CelebA.file_list if name in CELEBA_LISTS}
    faces = open_files(info, sums, lambda: CelebA(root, split="all"))
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
    require_files(info, root)
    kind = next(
        kind for kind, names in LFW_SETS.items() if all((base / name).exists() for name in names)
    )
    _, archive, md5 = LFWPeople.file_dict[kind]
    sums = {base / name: LFWPeople.checksums[name] for name in ("people.txt", "lfw-names.txt")}
    faces = open_files(
        info, {base / archive: md5, **sums}, lambda: LFWPeople(str(root), "10fold", kind)
    )
    names = {number: name for name, number in faces.class_to_idx.items()}
    files = [Path(file) for file in faces.data]
    return GroupedDataset.from_arrays(
        _read(files, base, "RGB", _face(150)), [names[i] for i in faces.targets]
    )


def _face(crop: int) -> Callable[[Image.Image], Image.Image]:
    from torchvision.transforms import functional

    return lambda image: functional.resize(
        functional.center_crop(image, [crop]), [FACE_SIZE, FACE_SIZE]
    )


def _read(
    files: Sequence[Path], base: Path, mode: str, fit: Callable[[Image.Image], Image.Image] | None
) -> np.ndarray:
    images, bad = read_images(files, base, lambda file: read_image(file, mode, fit), FACE_SIZE)
    if bad:
        raise InputError(f"{unreadable(bad, len(files), base)}: unpack their archive again")
    return stack(images)


def _missing_omniglot(root: Path) -> list[Path]:
    parts = [root / "omniglot-py" / part for part in OMNIGLOT_PARTS]
    return _absent([*(part.with_suffix(".zip") for part in parts), *parts])


def _missing_celeba(root: Path) -> list[Path]:
    return _absent([root / "celeba" / name for name in ("img_align_celeba", *CELEBA_LISTS)])


def _missing_lfw(root: Path) -> list[Path]:
    base = root / "lfw-py"
    lists = _absent([base / "people.txt", base / "lfw-names.txt"])
    return min(
        (_absent([base / name for name in names]) + lists for names in LFW_SETS.values()), key=len
    )


def _absent(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if not file.exists()]


_FACES = (3, FACE_SIZE, FACE_SIZE)
# fmt: off
_TABLE = (
    MNIST,
    FASHION_MNIST,
    DatasetInfo(
        "omniglot", "Omniglot", 32_460, 1_623, (1, 28, 28), 16, "MIT", FETCH,
        load_omniglot, _missing_omniglot,
    ),
    DatasetInfo(
        "celeba", "CelebA", 202_599, 10_177, _FACES, 1_495, "non-commercial research only",
        f"{FETCH}, which needs the package gdown", load_celeba, _missing_celeba,
    ),
    DatasetInfo(
        "lfw", "Labeled Faces in the Wild", 13_233, 5_749, _FACES, 243,
        "none stated, meant for research",
        "put lfw-funneled.tgz, unpacked too, people.txt and lfw-names.txt into lfw-py there by "
        "hand (--download cannot), or give pictures that lie in one folder a person as "
        "--data folder:PATH",
        load_lfw, _missing_lfw,
    ),
)
# fmt: on
NAMED: dict[str, DatasetInfo] = {info.name: info for info in _TABLE}
