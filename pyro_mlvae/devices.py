"""Devices by name."""

from __future__ import annotations

import torch

from pyro_mlvae.errors import InputError


def find_device(name: str) -> torch.device:
    """The device of that name: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: there is no such device here; the sentence says which there are.

    >>> find_device("cpu")
    device(type='cpu')
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    if name not in there:
        raise InputError(f"device {name!r} is not here: choose auto or one of {', '.join(there)}")
    return torch.device(name)
