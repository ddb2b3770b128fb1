"""What PyTorch computes in several steps as one node of its autograd graph, with a gradient of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def looked_into() -> bool:
    """Whether something is at work that wants plain functions.

    That is ``torch.compile``, a trace of ``torch.jit``, a transform of ``torch.func``, or forward-mode AD.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.jit.is_tracing()
        or torch.autograd.forward_ad._current_level >= 0
    )


def tanh(x: Tensor) -> Tensor:
    """``torch.tanh``, to within a few units of rounding at one, in less than half its time on a CPU.

    PyTorch's sigmoid takes a small part of the time of its tanh there. On a GPU, and in half precision,
    where the difference below would cost digits, this is PyTorch's.

    >>> tanh(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.7616,  0.0000,  0.7616])
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or looked_into():
        return torch.tanh(x)
    result: Tensor = _Tanh.apply(x)
    return result


class Tanh(nn.Module):
    """:func:`tanh` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        return tanh(x)


class _Tanh(torch.autograd.Function):
    """``2 sigmoid(2 x) - 1``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        result = (x + x).sigmoid_()
        torch.add(result.new_full((), -1.0), result, alpha=2.0, out=result)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gradient: Tensor = torch.ops.aten.tanh_backward(grads[0], *ctx.saved_tensors)
        return gradient
