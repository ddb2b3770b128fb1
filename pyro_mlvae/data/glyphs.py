"""``Glyphs``: characters in many typefaces, turns, sizes and places; true swaps can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.typefaces import (
    BOLD,
    DEJAVU,
    SCRIPTS,
    characters_of,
    draw_character,
    require_image_size,
)
from pyro_mlvae.errors import InputError, require_positive, require_seed

# Smallest and largest em, as parts of the side; the largest turn in degrees either way; the largest
# distance from the middle, along each axis, as a part of the side. Together they leave every
# character, of at most 0.95 em, inside the picture.
SIZE, TURN, PLACE = (0.48, 0.72), 20.0, 0.06
# In luminance, of which white has 1, ink and ground of a coloured drawing differ by this at least.
CONTRAST = 0.35
_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class Glyphs(GroupedDataset):
    """Drawings of characters, and the means to draw others: see :func:`load_glyphs`.

    Attributes:
        typefaces: what the numbers in ``of_observations["typeface"]`` stand for.

    How each is drawn is in ``of_observations``, so a part of the data knows it too.
    """

    typefaces: tuple[str, ...] = DEJAVU

    @property
    def style_factors(self) -> Mapping[str, Tensor]:
        """What style was made from: numbers ``[N]`` or ``[N, k]``, or classes, int64 ``[N]``."""
        return self.of_observations

    def render(self, content_of: Tensor, style_of: Tensor) -> Tensor:
        """The characters of some observations, drawn in the style of others: true swaps.

        Args:
            content_of: which of this data's observations give the character, int64 ``[n]``.
            style_of: which give typeface, turn, size, place and colours, int64 ``[n]``.

        Returns:
            ``[n, *event_shape]``, on the scale of ``observations()``. Of an observation with itself
            it is that observation, to the last bit.

        Raises:
            InputError: a typeface lacks a character.

        >>> data = load_glyphs(scripts=["Digits"], per_character=2)
        >>> swapped = data.render(torch.tensor([0, 0]), torch.tensor([0, 19]))
        >>> swapped.shape, bool((swapped[0] == data.observations()[0]).all())
        (torch.Size([2, 1, 28, 28]), True)
        """
        group = self.group[content_of].tolist()
        characters = [str(self.group_names[i]).rpartition("/")[2] for i in group]
        style = {name: value[style_of] for name, value in self.of_observations.items()}
        x = _draw(characters, self.typefaces, self.event_shape[-1], style)
        return torch.from_numpy(x).to(torch.get_default_dtype()).div_(255.0)


def load_glyphs(
    *,
    scripts: Sequence[str] | None = None,
    typefaces: Sequence[str] = DEJAVU,
    per_character: int = 20,
    image_size: int = 28,
    colour: bool = False,
    seed: int = 0,
) -> Glyphs:
    """Draw every character of some scripts in random typefaces, turns, sizes and places.

    A group is a character, such as ``Georgian/...``, and its super-group is the script: hold one
    out by its name. By default there are 9,880 drawings of 494 characters, which take 2 s; they are
    drawn anew each time, and are the same for the same arguments.

    Args:
        scripts: of Armenian, Cyrillic, Digits, Georgian, Greek and Latin; by default all of which
            the typefaces hold characters.
        typefaces: names of matplotlib's; by default the 12 of DejaVu. Others are ``STIXGeneral``
            (also ``Bol``, ``Italic``, ``BolIta``), with Latin, Greek and Cyrillic, and ``cmr10``,
            ``cmb10``, ``cmss10`` and ``cmtt10``, with A to Z, a to z and digits. Characters are
            those that *all* of them hold, so that every character can be drawn in every style.
        per_character: how many drawings of each.
        image_size: side in pixels, from 8 to 256.
        colour: whether ink and ground have random colours, of different luminance. Otherwise ink is
            white and the ground black.
        seed: of every random choice.

    Returns:
        x uint8 ``[N, 1, image_size, image_size]``, or with 3 channels. ``of_observations`` holds
        ``typeface``, an index into ``typefaces``; ``bold``, 0 or 1, which follows from it; ``turn``
        in degrees anticlockwise, from -20 to 20; ``size`` of the em as a part of the side, from
        0.48 to 0.72; ``place``, how far right and down of the picture's middle the middle of the
        ink is, ``[N, 2]``, from -0.06 to 0.06 of the side; and of coloured drawings ``ink`` and
        ``ground``, red, green and blue from 0 to 1, ``[N, 3]``.

    Characters that look the same are different groups where they are different characters: Latin A,
    Greek Alpha and Cyrillic A, or Latin Eth and D with stroke. No model can tell them apart.
    Characters that are taller or wider than 0.95 em are drawn as much smaller, so that none leaves
    its picture.

    Raises:
        InputError: a script or typeface is not known, the typefaces hold no common character of a
            script, or a number makes no sense.

    >>> data = load_glyphs(scripts=["Georgian", "Digits"], per_character=3)
    >>> data.parent_names, len(data), data.event_shape
    (('Digits', 'Georgian'), 159, torch.Size([1, 28, 28]))
    """
    require_image_size(image_size)
    require_positive(per_character=per_character)
    require_seed(seed)
    if not typefaces:
        raise InputError("typefaces must name at least one typeface, got none")
    found = {script: characters_of(script, typefaces) for script in (scripts or SCRIPTS)}
    empty = [script for script, characters in found.items() if not characters]
    if scripts and empty:
        raise InputError(
            f"no character of {empty[0]} is in all of the typefaces {', '.join(typefaces)}: leave "
            f"out that script, or the typefaces that lack it; all of DejaVu's hold every script"
        )
    names = [f"{script}/{c}" for script, characters in found.items() for c in characters]
    group = np.repeat(names, per_character)
    style = _styles(len(group), typefaces, torch.Generator().manual_seed(seed), colour=colour)
    x = _draw([name[-1] for name in group], typefaces, image_size, style)
    parent = {name: name.partition("/")[0] for name in names}
    data = GroupedDataset.from_arrays(x, group, parent=parent, of_observations=style)
    return Glyphs(
        **{f.name: getattr(data, f.name) for f in fields(data)}, typefaces=tuple(typefaces)
    )


def _styles(
    count: int, typefaces: Sequence[str], generator: torch.Generator, *, colour: bool
) -> dict[str, Tensor]:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float32)

    typeface = torch.randint(len(typefaces), (count,), generator=generator)
    style = {
        "typeface": typeface,
        "bold": torch.tensor([float(name in BOLD) for name in typefaces])[typeface],
        "turn": uniform(-TURN, TURN, count),
        "size": uniform(*SIZE, count),
        "place": uniform(-PLACE, PLACE, count, 2),
    }
    if colour:
        style["ink"], style["ground"] = uniform(0.0, 1.0, count, 3), uniform(0.0, 1.0, count, 3)
        weight = torch.tensor(_LUMINANCE)
        while len(
            alike := (((style["ink"] - style["ground"]) @ weight).abs() < CONTRAST).nonzero()[:, 0]
        ):
            style["ink"][alike] = uniform(0.0, 1.0, len(alike), 3)
            style["ground"][alike] = uniform(0.0, 1.0, len(alike), 3)
    return style


def _draw(
    characters: Sequence[str],
    typefaces: Sequence[str],
    image_size: int,
    style: Mapping[str, Tensor],
) -> np.ndarray:
    """Each character in its own style: uint8 ``[N, channels, image_size, image_size]``."""
    coverage = np.empty((len(characters), 1, image_size, image_size), np.uint8)
    numbers = (style[name].tolist() for name in ("typeface", "size", "turn", "place"))
    for i, (character, typeface, size, turn, place) in enumerate(
        zip(characters, *numbers, strict=True)
    ):
        coverage[i, 0] = draw_character(
            character, typefaces[typeface], image_size, size=size, turn=turn, place=place
        )
    if "ink" not in style:
        return coverage
    ink, ground = (
        style[name].numpy().astype(np.float32)[..., None, None] for name in ("ink", "ground")
    )
    return np.rint(255.0 * ground + (ink - ground) * coverage).astype(np.uint8)
