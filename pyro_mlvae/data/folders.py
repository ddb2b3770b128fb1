"""A folder of images: an image's folder is its group, the folder above its super-group."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.images import read_image, read_images, square, stack, unreadable
from pyro_mlvae.errors import InputError, printable, require_positive
from pyro_mlvae.files import find_path

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".tga", ".ico"),
)
# Sides in pixels; what a step costs grows with their square.
LARGEST_AS_IT_IS, SIZE_OF_FIRST_RUN = 64, 32
_LOG = logging.getLogger("pyro_mlvae")


def load_folder(
    path: str | Path,
    *,
    image_size: int | None = None,
    grayscale: bool = False,
    skip_bad: bool = False,
) -> GroupedDataset:
    """The images in and below a folder, grouped by the folder that holds them.

    A group is called by its path from the root, ``Greek/character01``, and images directly in the
    root are the group ``.``; a super-group is the folder above the group. Where every group lies
    directly under the root there are no super-groups. Hidden files are not looked at, files of
    other kinds are counted in the log; images come in the order of their names, and of an animation
    the first.

    Images are turned upright as their EXIF says, what is transparent is laid on white, and 16 bits
    are cut to 8. Grey and 1-bit images have one channel and colour ones three; where both occur all
    have three.

    Args:
        path: the folder.
        image_size: resize the shorter side to this (antialiased), and cut the centre square out.
        grayscale: make every image grey, one channel.
        skip_bad: leave out files that cannot be read, and say how many in the log, not refuse them.

    Returns:
        x uint8 ``[N, C, H, W]``, groups and super-groups named by relative path.

    Raises:
        InputError: there is no such folder, fewer than two images are in it, some cannot be read,
            or they differ in size and no ``image_size`` is given.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> for name in ("ann/1.png", "ann/2.png", "bob/1.png"):
    ...     (root / name).parent.mkdir(exist_ok=True)
    ...     Image.new("RGB", (50, 40), "red").save(root / name)
    >>> data = load_folder(root, image_size=28)
    >>> data.x.shape, data.group_names, data.group.tolist()
    (torch.Size([3, 3, 28, 28]), ('ann', 'bob'), [0, 0, 1])
    """
    if image_size is not None:
        require_positive(image_size=image_size)
    root = find_path(path)
    files = find_images(root)
    if len(files) < 2:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        found = f"only one image, {files[0].name}, was" if files else "no images were"
        raise InputError(
            f"{found} found in or below {root}: put at least two ({kinds}) there, by group"
        )
    mode, fit = "L" if grayscale else None, square(image_size)

    def read(file: Path) -> np.ndarray:
        return read_image(file, mode, fit, image_size)

    images, bad = read_images(files, root, read, image_size)
    if bad and not skip_bad:
        raise InputError(
            f"{unreadable(bad, len(files), root)}: replace or remove them, or leave them out with "
            "--skip-bad"
        )
    names = [
        file.relative_to(root).as_posix()
        for file, image in zip(files, images, strict=True)
        if image is not None
    ]
    if len(names) < 2:
        raise InputError(
            f"{unreadable(bad, len(files), root)}, and fewer than two are left: replace them"
        )
    if bad:
        _LOG.warning("skipped: %s", unreadable(bad, len(files), root))
    groups = [PurePosixPath(name).parent for name in names]
    parents = {group.as_posix(): group.parent.as_posix() for group in groups}
    return GroupedDataset.from_arrays(
        stack(images),
        [group.as_posix() for group in groups],
        parent=None if set(parents.values()) == {"."} else parents,
    )


def size_for_first_run(path: str | Path) -> int | None:
    """The ``image_size`` with which a first run takes minutes, not hours: that of the images or 32.

    Returns:
        None where all images have one size, whose shorter side is at most 64 pixels; else 32. Files
        that cannot be read are not counted.

    >>> import tempfile
    >>> from PIL import Image
    >>> root = Path(tempfile.mkdtemp())
    >>> Image.new("L", (50, 40)).save(root / "1.png")
    >>> size_for_first_run(root) is None
    True
    >>> Image.new("L", (640, 480)).save(root / "2.png")
    >>> size_for_first_run(root)
    32
    """
    from PIL import Image

    def size(file: Path) -> tuple[int, int] | None:
        try:
            with Image.open(file) as image:
                return image.size
        except Exception:  # a broken file makes Pillow raise errors of every kind
            return None

    # Nothing is decoded here, so that an image which is too large to be safe is no danger yet.
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        sizes = set(pool.map(size, find_images(find_path(path)))) - {None}
    alike = len(sizes) < 2 and all(min(one) <= LARGEST_AS_IT_IS for one in sizes if one)
    return None if alike else SIZE_OF_FIRST_RUN


def find_images(root: Path) -> list[Path]:
    """The image files in and below a folder, hidden ones left out, in the order of their names.

    Links to folders are followed, except into a folder that they lie in.

    Raises:
        InputError: there is no such folder, or one cannot be listed.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError(
            f"the folder of images {root} {what}: give a folder with one folder for each group"
        )

    def refuse(error: OSError) -> None:
        raise InputError(
            f"the folder {error.filename} cannot be listed ({error.strerror}): make it readable"
        )

    files: list[Path] = []
    others: Counter[str] = Counter()
    for folder, below, names in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(folder)
        below[:] = [
            name for name in below if not name.startswith(".") and not _leads_back(here / name)
        ]
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                files.append(here / name)
            elif not name.startswith("."):
                others[Path(name).suffix or name] += 1
    if others:
        kinds = ", ".join(f"{count} of {printable(kind)}" for kind, count in others.most_common(5))
        _LOG.warning(
            "left out of %s: %d files that are no images (%s)", root, others.total(), kinds
        )
    return sorted(files, key=lambda file: file.relative_to(root).parts)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that holds it."""
    return folder.is_symlink() and folder.resolve() in [here.resolve() for here in folder.parents]
