"""split.safetensors: which observations a run trains on, and which are held out.

It is recorded, not drawn again: when the data grows, each observation that the run knows keeps its
part, and what is new is in none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pyro_mlvae.data.identity import Identity
from pyro_mlvae.data.splits import Split
from pyro_mlvae.errors import InputError, printable
from pyro_mlvae.files import write_atomically

SPLIT = "split.safetensors"
_VERSION = "1"
_TRAIN, _VALIDATION, _TEST = 1, 2, 3


@dataclass(frozen=True, eq=False)
class RecordedSplit:
    """The data of a run, and what each of its observations is for."""

    identity: Identity
    part: Tensor  # 1 for training, 2 for validation, 3 for test, 0 for none, uint8 [N]

    @classmethod
    def record(cls, split: Split, identity: Identity) -> RecordedSplit:
        """The record of a split of the data that ``identity`` is of."""
        part = torch.zeros(len(identity), dtype=torch.uint8)
        for number, index in (
            (_TRAIN, split.train),
            (_VALIDATION, split.validation),
            (_TEST, split.test),
        ):
            part[index] = number
        return cls(identity, part)

    def of(self, now: Identity) -> Split:
        """The split of the data as it is now; what the run does not know is in no part."""
        places = self.identity.places_of(now.key)
        part = torch.where(places < 0, 0, self.part[places])
        train, validation, test = (
            (part == number).nonzero().flatten() for number in (_TRAIN, _VALIDATION, _TEST)
        )
        return Split(train, validation, test)


def save_split(folder: Path, recorded: RecordedSplit) -> None:
    """Write split.safetensors into a run folder, whole or not at all."""
    identity = recorded.identity
    metadata = {
        "format_version": _VERSION,
        "group_names": json.dumps(identity.group_names),
        "labels": identity.labels,
        "every": str(identity.every),
    }
    tensors = {"key": identity.key, "group": identity.group, "part": recorded.part}
    with write_atomically(folder / SPLIT) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_split(folder: Path) -> RecordedSplit | None:
    """What split.safetensors says; None for a run folder that has none, of before it was written.

    Raises:
        InputError: the file is damaged, or a later version's.
    """
    file = folder / SPLIT
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            key, group, part = (opened.get_tensor(name) for name in ("key", "group", "part"))
        version = metadata["format_version"]
        if version != _VERSION:
            raise InputError(
                f"{file} has format_version {version!r:.100}, expected {_VERSION!r}: use the "
                f"version of pyro_mlvae that wrote it"
            )
        names, every = json.loads(metadata["group_names"]), int(metadata["every"])
        if not (
            isinstance(names, list) and all(isinstance(name, str) for name in names) and every > 0
        ):
            raise TypeError("group_names is no list of text")
        sound = (
            key.shape == group.shape == part.shape == (len(key),)
            and (key.dtype, group.dtype, part.dtype) == (torch.int64, torch.int64, torch.uint8)
            and len(key) > 0
            and 0 <= int(group.min()) <= int(group.max()) < len(names)
            and int(part.max()) <= _TEST
        )
        if not sound:
            raise ValueError("its tensors are not those of a split")
        return RecordedSplit(Identity(key, group, tuple(names), metadata["labels"], every), part)
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = printable(" ".join(str(error).split())[:200])
        raise InputError(
            f"{file} is damaged ({reason}): restore it, or remove it: the split is drawn again "
            f"from the seed, if the data is that of training"
        ) from None
