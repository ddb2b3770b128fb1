"""The typefaces that matplotlib ships: which characters they hold, and drawings of these.

Their files are part of matplotlib, so nothing is downloaded. All are free: DejaVu, STIX, and
Computer Modern.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyro_mlvae.errors import InputError, require_positive, unknown_name

if TYPE_CHECKING:
    from PIL import Image, ImageFont

# Only these hold Armenian and Georgian.
DEJAVU = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
)
STIX = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta")
# These have an encoding of their own, which agrees with Unicode on the letters and digits of ASCII.
COMPUTER_MODERN = ("cmr10", "cmb10", "cmss10", "cmtt10")
TYPEFACES = (*DEJAVU, *STIX, *COMPUTER_MODERN)
BOLD = frozenset(name for name in TYPEFACES if "Bol" in name or name == "cmb10")

# By code point. Latin ends with the block Extended-B: what follows are phonetic symbols.
SCRIPTS = {
    "Armenian": range(0x530, 0x590),
    "Cyrillic": range(0x400, 0x530),
    "Digits": range(0x30, 0x3A),
    "Georgian": range(0x10A0, 0x1100),
    "Greek": range(0x370, 0x400),
    "Latin": range(0x41, 0x250),
}
SMALLEST, LARGEST = 8, 256
# No character is taller or wider than so many em: the few that are, are drawn as much smaller.
MOST_EM = 0.95
# Pixels per em of the drawing that is turned and scaled, and of the margin around its ink.
_EM, _MARGIN = 96, 2
# A picture is drawn at least this wide, and averaged down to its size.
_CANVAS = 84


def characters_of(script: str, typefaces: Sequence[str] = DEJAVU) -> list[str]:
    """The letters or digits of a script that every one of the typefaces holds.

    Letters with a mark, which Unicode decomposes (e with an acute accent), are left out.

    Raises:
        InputError: the script or a typeface is not known.

    >>> "".join(characters_of("Latin", ["DejaVuSans", "cmr10"]))
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
    """
    if script not in SCRIPTS:
        raise unknown_name("script", script, SCRIPTS)
    held = [_held(typeface) for typeface in typefaces]
    return [
        chr(code)
        for code in SCRIPTS[script]
        if unicodedata.category(chr(code)) in ("Lu", "Ll", "Nd")
        and not unicodedata.decomposition(chr(code))
        and all(code in codes for codes in held)
    ]


def require_image_size(image_size: int) -> None:
    """Raise :class:`InputError` for a side in pixels that is too small to read, or too large."""
    require_positive(image_size=image_size)
    if not SMALLEST <= image_size <= LARGEST:
        raise InputError(
            f"image_size must be from {SMALLEST} to {LARGEST} pixels, got {image_size}: a letter "
            f"cannot be read in fewer, and shows nothing new in more"
        )


def draw_character(
    character: str,
    typeface: str,
    image_size: int,
    *,
    size: float,
    turn: float,
    place: Sequence[float],
) -> np.ndarray:
    """One character as antialiased coverage.

    Args:
        character: to draw.
        typeface: one of ``TYPEFACES``.
        image_size: side of the picture in pixels.
        size: of the typeface's em, as a part of the side.
        turn: in degrees, anticlockwise.
        place: of the middle of the ink's box before it is turned, to the right and down from the
            middle of the picture, as parts of the side.

    Returns:
        uint8 ``[image_size, image_size]``: 0 where there is no ink, 255 where there is nothing
        else.

    Raises:
        InputError: the typeface is not known, or lacks the character.

    >>> drawn = draw_character("A", "DejaVuSans", 28, size=0.7, turn=0.0, place=(0.0, 0.0))
    >>> drawn.shape, int(drawn.max())
    ((28, 28), 255)
    """
    from PIL.Image import Resampling, Transform

    drawn, scale = _drawing(character, typeface)
    finer = math.ceil(_CANVAS / image_size)
    side = image_size * finer
    # From places on the canvas back to those in the drawing, about the middle of the ink.
    step = _EM / (size * side * scale)
    cos, sin = step * math.cos(math.radians(turn)), step * math.sin(math.radians(turn))
    x, y = side * (0.5 + place[0]), side * (0.5 + place[1])
    back = (
        *(cos, -sin, drawn.width / 2 - cos * x + sin * y),
        *(sin, cos, drawn.height / 2 - sin * x - cos * y),
    )
    canvas = drawn.transform((side, side), Transform.AFFINE, back, Resampling.BILINEAR)
    return np.asarray(canvas.reduce(finer))


@lru_cache(maxsize=512)
def _drawing(character: str, typeface: str) -> tuple[Image.Image, float]:
    """A character at ``_EM`` pixels per em with a margin, and how much smaller to draw it."""
    from PIL import Image, ImageDraw

    if ord(character) not in _held(typeface):
        raise InputError(
            f"{typeface} has no {character!r}: choose a typeface that holds it, such as "
            f"{', '.join(DEJAVU[:2])}"
        )
    font = _font(typeface)
    left, top, right, bottom = font.getbbox(character)
    room = (int(right - left) + 2 * _MARGIN, int(bottom - top) + 2 * _MARGIN)
    drawn = Image.new("L", room)
    ImageDraw.Draw(drawn).text((_MARGIN - left, _MARGIN - top), character, fill=255, font=font)
    longest = max(room) - 2 * _MARGIN
    return drawn, min(1.0, MOST_EM * _EM / longest)


@lru_cache
def _font(typeface: str) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(_file(typeface), _EM, layout_engine=ImageFont.Layout.BASIC)


@lru_cache
def _held(typeface: str) -> frozenset[int]:
    """The code points that a typeface holds as themselves."""
    from matplotlib.ft2font import FT2Font

    held = frozenset(FT2Font(_file(typeface)).get_charmap())
    return held & frozenset(range(128)) if typeface in COMPUTER_MODERN else held


def _file(typeface: str) -> str:
    import matplotlib

    if typeface not in TYPEFACES:
        raise unknown_name("typeface", typeface, TYPEFACES)
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{typeface}.ttf"
    if not file.is_file():
        raise InputError(
            f"matplotlib came without the typeface {file}: install matplotlib anew with pip"
        )
    return str(file)
