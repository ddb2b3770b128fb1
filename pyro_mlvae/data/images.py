"""Image files as arrays of pixels: read upright, resized, stacked; unreadable ones are named."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyro_mlvae.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_NAMED = 5  # as many unreadable files are named in a sentence


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
        smallest: the size that ``fit`` makes of it; a JPEG then is decoded no larger than it must
            be.

    Returns:
        uint8 ``[C, H, W]``.
    """
    from PIL import Image

    with Image.open(file) as opened:
        if smallest is not None:
            opened.draft(None, (2 * smallest, 2 * smallest))
        return pixels_of(opened, mode, fit)


def pixels_of(
    image: Image.Image,
    mode: str | None = None,
    fit: Callable[[Image.Image], Image.Image] | None = None,
) -> np.ndarray:
    """The pixels of an image as :func:`read_image` gives them: 8 bits, transparency on white.

    Raises:
        InputError: its pixels are floating-point numbers, whose range nobody knows.
    """
    from PIL import Image, ImageOps

    if image.mode == "F":
        raise InputError(
            "pixels must be whole numbers, got an image of floating-point ones (mode F), whose "
            "range is not known: scale it to 0..255 and convert it to mode L"
        )
    image = ImageOps.exif_transpose(image)
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
        except Exception as error:  # Pillow's decoders raise errors of every kind
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
    named = ", ".join(
        f"{file.relative_to(root)} ({why})" for file, why in list(bad.items())[:_NAMED]
    )
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
