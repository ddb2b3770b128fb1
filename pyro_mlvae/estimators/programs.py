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
    """The module in a program: itself, or what handlers such as ``poutine.mask`` wrap.

    >>> from pyro import poutine
    >>> from pyro.nn import PyroModule
    >>> model = PyroModule()
    >>> module_of(poutine.scale(model, scale=2.0)) is model
    True
    """
    bare = inspect.unwrap(program)
    bare = getattr(bare, "__self__", bare)
    return bare if isinstance(bare, nn.Module) else None


def modules_of(*programs: Program) -> list[nn.Module]:
    """The modules in programs; of a function there is none."""
    return [module for program in programs if (module := module_of(program)) is not None]


class OneModule(nn.Module):
    """Programs as one module, such as a model and its guide, whose modules are its children."""

    def __init__(self, *programs: Program) -> None:
        super().__init__()
        for number, program in enumerate(programs):
            module = module_of(program)
            if module is not None:
                self.add_module(str(number), module)


def place_of(*programs: Program) -> dict[str, Any]:
    """Device and dtype of the first floating-point parameter, where batches have to be."""
    for module in modules_of(*programs):
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return {"device": parameter.device, "dtype": parameter.dtype}
    return {"device": torch.device("cpu"), "dtype": None}


@contextmanager
def in_mode(*programs: Program, training: bool) -> Iterator[None]:
    """Dropout, batch norm and the like as in training or at test time, for a while."""
    modules = modules_of(*programs)
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
