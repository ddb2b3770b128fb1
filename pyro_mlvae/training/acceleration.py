"""Networks that compute in bfloat16 in training, and what a device must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.estimators.programs import Program, modules_of
from pyro_mlvae.likelihoods import Likelihood

PRECISIONS = ("float32", "bf16")


@contextmanager
def in_precision(*programs: Program, device: torch.device, precision: str) -> Iterator[None]:
    """The networks, children of model and guide, in another precision for a while.

    What lies between networks stays in float32: draws, products of Normals, densities, sums. So do
    the weights, their gradients and the optimiser.

    Args:
        programs: the model and the guide.
        device: where they are.
        precision: "float32", or "bf16": matrix products and convolutions in bfloat16.
    """
    children = [child for module in modules_of(*programs) for child in module.children()]
    if precision == "float32":
        children = []
    # Each once, with a forward of its own that somebody has given to it, or None.
    networks = {
        child: vars(child).get("forward") for child in children if not isinstance(child, Likelihood)
    }
    for network in networks:
        network.forward = _in_bfloat16(network.forward, device.type)
    try:
        yield
    finally:
        for network, own in networks.items():
            del network.forward  # that of the class is found again
            if own is not None:
                network.forward = own


def require_possible(device: torch.device, precision: str, *, compile: bool) -> None:
    """Raise :class:`InputError` where the device cannot compute so, or nothing can be compiled."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "bf16" and not _has_bfloat16(device):
        raise InputError(
            f"precision 'bf16' needs bfloat16, which {device} does not have: use float32"
        )
    if compile and not _has_compiler(device):
        raise InputError("compile needs a C++ compiler, but finds none: install g++, or do without")


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _has_compiler(device: torch.device) -> bool:
    """PyTorch writes a CPU's kernels in C++, which something must compile."""
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except (InvalidCxxCompiler, OSError):
            return False
    return True


def _in_bfloat16(forward: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        with torch.autocast(device_type, dtype=torch.bfloat16):
            outputs = forward(*args)
        return _in_float32(outputs)

    return run


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, tuple | list):
        return tuple(_in_float32(output) for output in outputs)
    if isinstance(outputs, Tensor) and outputs.dtype == torch.bfloat16:
        return outputs.float()
    return outputs
