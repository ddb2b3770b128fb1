"""Networks that compute in bfloat16, or compiled, while a pair is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_mlvae.errors import InputError, unknown_name

PRECISIONS = ("float32", "bf16")


@contextmanager
def accelerated(*modules: Any, device: torch.device, precision: str, compile: bool) -> Iterator[None]:
    """The networks of a model and a guide, which are their children, in another way for a while.

    What lies between networks stays in float32: draws, products of Normals, densities, sums. So do the
    weights, their gradients and the optimiser. The names in state dicts stay as they were.

    Args:
        modules: the model and the guide.
        device: where they are.
        precision: "float32", or "bf16": matrix products and convolutions in bfloat16.
        compile: whether networks go through ``torch.compile``.

    Raises:
        InputError: the device has no bfloat16, or nothing can be compiled here.
    """
    require_possible(device, precision, compile=compile)
    children = [child for module in modules if isinstance(module, nn.Module) for child in module.children()]
    if precision == "float32" and not compile:
        children = []
    # Each once, with a forward of its own that somebody has given to it, or None.
    networks = {child: vars(child).get("forward") for child in children}
    for network in networks:
        forward: Callable[..., Any] = network.forward
        if precision == "bf16":
            forward = _in_bfloat16(forward, device.type)
        if compile:
            forward = torch.compile(forward)
        network.forward = forward
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
        raise InputError(f"precision 'bf16' needs bfloat16, which {device} does not have: use float32")
    if compile and not _has_compiler(device):
        raise InputError("compile needs a C++ compiler, but finds none: install g++, or do without")


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported


def _has_compiler(device: torch.device) -> bool:
    """Of a CPU's kernels PyTorch makes C++, which something must compile."""
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
    """What a network gives, for densities and sums: tensors, or Normals made of them."""
    if isinstance(outputs, tuple | list):
        return tuple(_in_float32(output) for output in outputs)
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs
    if isinstance(outputs, dist.Normal) and outputs.loc.dtype == torch.bfloat16:
        return dist.Normal(outputs.loc.float(), outputs.scale.float())
    return outputs
