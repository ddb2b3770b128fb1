"""Programs as Pyro users write them: modules, functions, and handlers around either."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import nn

Program = Callable[..., Any]


def module_of(program: Program) -> nn.Module | None:
    """The module in a program: itself, or what handlers such as ``poutine.mask`` are wrapped around.

    >>> from pyro import poutine
    >>> from pyro.nn import PyroModule
    >>> model = PyroModule()
    >>> module_of(poutine.scale(model, scale=2.0)) is model
    True
    """
    bare = inspect.unwrap(program)
    bare = getattr(bare, "__self__", bare)
    return bare if isinstance(bare, nn.Module) else None


def place_of(*programs: Program) -> dict[str, Any]:
    """Device and dtype of the first floating-point parameter, where batches have to be."""
    for program in programs:
        module = module_of(program)
        for parameter in [] if module is None else module.parameters():
            if parameter.is_floating_point():
                return {"device": parameter.device, "dtype": parameter.dtype}
    return {"device": torch.device("cpu"), "dtype": None}


@contextmanager
def in_mode(*programs: Program, training: bool) -> Iterator[None]:
    """Dropout, batch norm and the like as in training, or as at test time; modes are restored after."""
    modules = [module for program in programs if (module := module_of(program)) is not None]
    before = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.train(training)
        yield
    finally:
        for part, mode in before:
            part.training = mode


@contextmanager
def seeded(*programs: Program, device: torch.device, seed: int) -> Iterator[None]:
    """Programs run with draws fixed by ``seed``, in evaluation mode, without gradients.

    The caller's random state and parameter store are left as they were.
    """
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),
        in_mode(*programs, training=False),
        torch.no_grad(),
    ):
        torch.manual_seed(seed)
        yield
