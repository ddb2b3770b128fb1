"""Ways in which any file is damaged, and pickles in its place."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

EXTREMES = (
    *(
        0,
        1,
        -1,
        2,
        255,
        2**16,
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**40,
        2**62,
        2**63 - 1,
        2**63,
        10**30,
        10**400,
    ),
)


class Evil:
    """Whoever unpickles it makes a folder, which the guard sees."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("canary",)


def _pickles() -> dict[str, bytes]:
    evil, array, whole, objects = Evil(), io.BytesIO(), io.BytesIO(), np.empty(8, dtype=object)
    objects[:] = [evil] * 8
    np.save(array, objects, allow_pickle=True)
    torch.save({"x": evil}, whole)
    zipped = io.BytesIO()
    np.savez(zipped, x=objects, group=objects)
    return {
        "plain": pickle.dumps(evil),
        "npy": array.getvalue(),
        "torch": whole.getvalue(),
        "npz": zipped.getvalue(),
    }


PICKLES = _pickles()


def flip(content: bytes, chance: random.Random) -> bytes:
    """Flip some bits, in the beginning as often as anywhere."""
    spoiled = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 100))):
        if spoiled:
            place = chance.randrange(chance.choice((min(len(spoiled), 128), len(spoiled))))
            spoiled[place] ^= 1 << chance.randrange(8)
    return bytes(spoiled)


def cut(content: bytes, chance: random.Random) -> bytes:
    """Leave out a piece, or the end."""
    start = chance.randrange(len(content) + 1)
    return content[:start] + (content[start + chance.randrange(200) :] if chance.random() < 0.5 else b"")


def insert(content: bytes, chance: random.Random) -> bytes:
    """Put in a piece of nothing, of noise, or of the file itself."""
    start, size = chance.randrange(len(content) + 1), chance.choice((1, 8, 100, 10_000))
    pieces = (bytes(size), chance.randbytes(size), content[:size], content[-size:], b"\xff" * size)
    piece = chance.choice(pieces)
    return content[:start] + piece + content[start:]


def swap(content: bytes, chance: random.Random) -> bytes:
    """Exchange two pieces."""
    size = chance.choice((1, 2, 8, 64))
    spoiled = bytearray(content)
    if len(content) > 2 * size:
        i, j = (chance.randrange(len(content) - size) for _ in range(2))
        spoiled[i : i + size], spoiled[j : j + size] = content[j : j + size], content[i : i + size]
    return bytes(spoiled)


def number(content: bytes, chance: random.Random) -> bytes:
    """Write an extreme number over some bytes, as a length or an offset would be."""
    form = chance.choice(("<H", "<I", "<Q", ">I", ">Q"))
    value = chance.choice(EXTREMES) % 2 ** (8 * struct.calcsize(form))
    start = chance.randrange(chance.choice((min(len(content), 64), len(content))) + 1)
    return content[:start] + struct.pack(form, value) + content[start + struct.calcsize(form) :]


def replace(content: bytes, chance: random.Random) -> bytes:
    """Another file altogether: a pickle, nothing, noise."""
    size = chance.choice((1, 8, 100, 100_000))
    return chance.choice((*PICKLES.values(), b"", bytes(size), chance.randbytes(size), b"\xff" * 8 + b"{}"))


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, insert, swap, number, replace)
