"""explorer.safetensors: held-out observations, codes and the decoder, for a page that decodes.

The guide itself infers the codes, content from the first k observations of a group for each k: any
guide will do. A decoder of the library travels in half precision; for others, decoded pictures do
("sprites").
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.files import write_atomically
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.decoding import decode
from pyro_mlvae.latents.encoding import device_of, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of, moments
from pyro_mlvae.plotting.images import first_of_each_group
from pyro_mlvae.plotting.looks import Look, look_of
from pyro_mlvae.runs.folder import EXPLORER
from pyro_mlvae.runs.page import render, source
from pyro_mlvae.runs.travel import travelling

_VERSION = "1"
# Observations in each of the two rows, and of a group; fewer where pictures are large.
_SIZES = ((12, 8), (12, 4), (8, 4), (6, 2), (4, 1), (2, 1))
# In bytes: of the pictures of observations, and of all that is decoded where the decoder stays.
_MOST_SHOWN, _MOST_SPRITES = 800_000, 2_000_000
# A shade that is shown is a byte, of which the last marks what is missing.
_SHADES, _MISSING = 254, 255


@torch.no_grad()
def save_explorer(folder: Path, model: MLVAE, guide: GroupedGuide, test: GroupedDataset) -> str:
    """Write explorer.safetensors into a run folder, with some of the held-out observations.

    Returns:
        Why the decoder does not travel; empty where it does.

    Raises:
        InputError: there are no observations, one is too large for a page, or the model has no
            mean.
    """
    if not len(test):
        raise InputError("there are no held-out observations to explore: hold some out in training")
    look, size = look_of(test), test.event_shape.numel()
    layers, tensors, why = travelling(model)
    count, most = _sizes(size, sprites=bool(why))
    donors, members, stylists = _choose(test, count, most)
    shown = torch.cat([members.flatten(), stylists])
    codes = encode(guide, test.subset(shown))
    content, style = mean_of(codes.content).cpu(), mean_of(codes.style).cpu()
    # Of each donor's group the first 1, 2, ... observations; where there are no more, the same
    # again.
    sizes = torch.tensor([len(members[i].unique()) for i in range(len(donors))])
    first = torch.arange(most).unsqueeze(0).minimum(sizes.unsqueeze(1) - 1)
    pairs = [
        (row * most + i, row * most + k)
        for row in range(len(donors))
        for k in range(most)
        for i in range(int(first[row, k]) + 1)
    ]
    index, group = torch.tensor(pairs).unbind(1)
    posterior = moments(group_content(guide, codes, index, group))
    loc, scale = (moment.cpu().unflatten(0, (len(donors), most)) for moment in posterior)
    own = torch.arange(len(donors)) * most
    others = torch.arange(len(members.flatten()), len(shown))
    x = _shades(look, test.observations(shown))
    tensors |= {
        "x.content": x[: len(members.flatten())].unflatten(0, (len(donors), most)),
        "x.style": x[others],
        "content.loc": loc,
        "content.scale": scale,
        "content.style": style[own],
        "style.content": content[others],
        "style.style": style[others],
        "low": look.low.float().flatten(),
        "high": look.high.float().flatten(),
    }
    if why:
        latents = loc.unsqueeze(2), style[others].expand(1, 1, -1, -1)
        decoded = decode(model, *(latent.to(device_of(guide)) for latent in latents))
        tensors["sprites"] = _shades(look, decoded.flatten(0, 2)).unflatten(0, decoded.shape[:3])
    names = [test.group_names[i] for i in test.group[torch.cat([donors, stylists])].tolist()]
    about = {
        "layers": layers,
        "why": why,
        "shape": _shape(test, look),
        "kind": look.kind,
        "ink": look.ink,
        "note": look.note,
        "sizes": sizes.tolist(),
        "names": [str(name) for name in names],
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {"format_version": _VERSION, "about": json.dumps(about)}
    with write_atomically(folder / EXPLORER) as temporary:
        temporary.write_bytes(save(tensors, metadata))
    return why


def explorer_section(folder: Path) -> dict[str, str]:
    """The explorer of a run folder for a page: its section, ``explorer``, and the ``script_hash``.

    Raises:
        InputError: explorer.safetensors is missing or damaged, or a later version's.
    """
    about, data = _read(folder)
    script = "".join(map(source, ("decode.js", "explorer.js")))
    section = render(
        "explorer.html", about=about, data=base64.b64encode(data).decode(), script=Markup(script)
    )
    return {
        "explorer": section,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """What explorer.safetensors is about, and its bytes."""
    file = folder / EXPLORER
    if not file.is_file():
        raise InputError(f"{file} is missing: pyro-mlvae evaluate {folder} writes it")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata, names = opened.metadata() or {}, set(opened.keys())
        version, about = metadata["format_version"], json.loads(metadata["about"])
        if version != _VERSION:
            raise ValueError(f"format_version {version!r:.100} is not of this pyro_mlvae")
        lacking = {"content.loc", "style.style", "sprites" if about["why"] else "unit"} - names
        if lacking:
            raise ValueError(f"it lacks {min(lacking)}")
        return about, file.read_bytes()
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        reason = printable(" ".join(str(error).split())[:200])
        raise InputError(
            f"{file} is damaged ({reason}): pyro-mlvae evaluate {folder} writes it anew"
        ) from None


def _sizes(size: int, *, sprites: bool) -> tuple[int, int]:
    """How many observations a row has, and how many of a group are shown."""
    for count, most in _SIZES:
        if count * (most + 1) * size <= _MOST_SHOWN and (
            not sprites or count * count * most * size <= _MOST_SPRITES
        ):
            return count, most
    raise InputError(
        f"an observation of {size:,} values is too large for a page: explore images of fewer pixels"
    )


def _choose(test: GroupedDataset, count: int, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions: a donor of content for each group, the members of its group, and donors of style.

    A group of fewer than ``most`` repeats its last member.
    """
    generator = torch.Generator().manual_seed(0)
    donors = first_of_each_group(test.group, count)
    members = []
    for donor in donors.tolist():
        own = (test.group == test.group[donor]).nonzero().flatten()
        members.append(own[torch.arange(most).clamp(max=len(own) - 1)])
    everything = torch.arange(len(test))
    others = everything[~torch.isin(everything, donors)]
    if not len(others):  # of every group a single observation is held out
        others = donors
    stylists = others[torch.randperm(len(others), generator=generator)[:count]]
    return donors, torch.stack(members), stylists


def _shades(look: Look, x: Tensor) -> Tensor:
    """Observations as bytes, from the lowest that is drawn to the highest, ``[n, values]``."""
    x = x.detach().cpu().flatten(1).double()
    shade = ((x - look.low) / (look.high - look.low)).clamp(0.0, 1.0) * _SHADES
    return shade.round().nan_to_num(_MISSING).to(torch.uint8)


def _shape(test: GroupedDataset, look: Look) -> tuple[int, int, int]:
    """Channels, height and width of what is drawn; a heat map has its features row by row."""
    event = test.event_shape
    if look.kind == "picture":
        return math.prod(event[:-2]), event[-2], event[-1]
    width = event.numel() if look.kind == "profile" else math.ceil(math.sqrt(event.numel()))
    return 1, math.ceil(event.numel() / width), width
