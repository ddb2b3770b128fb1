"""A folder of images: the folder that holds an image is its group, the folder above its super-group."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.files import find_path

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".pgm", ".bmp", ".webp")
_NAMED = 5  # as many unreadable files are named in a sentence
_LOG = logging.getLogger("pyro_mlvae")


def load_folder(
    path: str | Path, *, image_size: int | None = None, grayscale: bool = False, skip_bad: bool = False
) -> GroupedDataset:
    """The images in and below a folder, grouped by the folder that holds them.

    A group is called by its path from the root, ``Greek/character01``, and images directly in the
    root are the group ``.``; a super-group is the folder above the group. Where every group lies
    directly under the root there are no super-groups. Hidden files, and files of other kinds, are
    not looked at; images come in the order of their names.

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
        InputError: there is no such folder, fewer than two images are in it, some cannot be read, or
            they differ in size and no ``image_size`` is given.

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
        raise InputError(f"{found} found in or below {root}: put at least two ({kinds}) there, by group")
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
        raise InputError(f"{unreadable(bad, len(files), root)}, and fewer than two are left: replace them")
    if bad:
        _LOG.warning("skipped: %s", unreadable(bad, len(files), root))
    groups = [PurePosixPath(name).parent for name in names]
    parents = {group.as_posix(): group.parent.as_posix() for group in groups}
    return GroupedDataset.from_arrays(
        stack(images),
        [group.as_posix() for group in groups],
        parent=None if set(parents.values()) == {"."} else parents,
    )


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
    for folder, below, names in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(folder)
        below[:] = [name for name in below if not name.startswith(".") and not _leads_back(here / name)]
        files += [
            here / name for name in names if not name.startswith(".") and name.lower().endswith(SUFFIXES)
        ]
    return sorted(files, key=lambda file: file.relative_to(root).parts)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that holds it."""
    return folder.is_symlink() and folder.resolve() in [here.resolve() for here in folder.parents]


def square(size: int | None) -> Callable[[Image.Image], Image.Image] | None:
    """What makes an image a square of ``size``: its shorter side resized, its centre cut out."""
    from PIL import Image, ImageOps

    if size is None:
        return None
    return lambda image: ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def read_image(
    file: Path,
    mode: str | None = None,
    fit: Callable[[Image.Image], Image.Image] | None = None,
    smallest: int | None = None,
) -> np.ndarray:
    """The pixels of one image file, upright.

    Args:
        file: where it is.
        mode: ``L`` for grey, ``RGB`` for colour; by default what the file has.
        fit: crops or resizes the image, which by then is grey or RGB, 8 bits.
        smallest: the size that ``fit`` makes of it; a JPEG then is decoded no larger than it must be.

    Returns:
        uint8 ``[C, H, W]``.
    """
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        if smallest is not None:
            opened.draft(None, (2 * smallest, 2 * smallest))
        image = ImageOps.exif_transpose(opened)
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert(mode or ("L" if grey else "RGB"))
    pixels = np.asarray(image if fit is None else fit(image))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_images(
    files: Sequence[Path], root: Path, read: Callable[[Path], np.ndarray], image_size: int | None
) -> tuple[list[np.ndarray | None], dict[Path, str]]:
    """Read many image files, in parallel.

    Args:
        files: where they are.
        root: the folder that they are in, for the error.
        read: gives the pixels of one, uint8 ``[C, H, W]``.
        image_size: the size to which they were asked to be resized, if to any.

    Returns:
        The pixels of each file, None of those that cannot be read, and why these cannot.

    Raises:
        InputError: two images differ in size.
    """
    from PIL import Image

    def attempt(file: Path) -> np.ndarray | str:
        try:
            return read(file)
        except Exception as error:  # a broken file makes Pillow's decoders raise errors of every kind
            return _reason(error)

    images: list[np.ndarray | None] = []
    bad: dict[Path, str] = {}
    first: tuple[Path, tuple[int, ...]] | None = None
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # An image so large that Pillow only warns of it is refused too.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for file, result in zip(files, pool.map(attempt, files), strict=True):
            images.append(None if isinstance(result, str) else result)
            if isinstance(result, str):
                bad[file] = result
            elif first is None:
                first = file, result.shape[1:]
            elif first[1] != result.shape[1:]:
                sizes = [
                    f"{name.relative_to(root)} has {width}x{height}"
                    for name, (height, width) in (first, (file, result.shape[1:]))
                ]
                raise InputError(
                    f"the images in {root} differ in size ({' and '.join(sizes)} pixels): "
                    "give one size to all with --image-size, such as --image-size 64"
                )
    return images, bad


def _reason(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than the {Image.MAX_IMAGE_PIXELS} pixels that are taken for safe"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:80] or type(error).__name__


def unreadable(bad: dict[Path, str], count: int, root: Path) -> str:
    """The beginning of a sentence that names the first few of the ``count`` files that are bad."""
    named = ", ".join(f"{file.relative_to(root)} ({why})" for file, why in list(bad.items())[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return f"{len(bad)} of the {count} images in {root} cannot be read, {named}{more}"


def stack(images: list[np.ndarray | None]) -> np.ndarray:
    """One array uint8 ``[N, C, H, W]`` of those that were read, three channels where any has three.

    The list is emptied on the way, so that the pixels are not in memory twice.
    """
    shapes = [image.shape for image in images if image is not None]
    x = np.empty((len(shapes), max(shape[0] for shape in shapes), *shapes[0][1:]), dtype=np.uint8)
    row = len(shapes)
    while images:
        image = images.pop()
        if image is not None:
            row -= 1
            x[row] = image  # a grey image's one channel becomes all three
    return x
