"""Gradients before the update: what is not finite never reaches the weights, the rest is clipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn

from pyro_mlvae.training.optimizer import JointOptim


class NotFiniteError(Exception):
    """A NaN or an infinity in the loss or its gradient; says where, which term, and what to try."""


class GradientCheck:
    """Looks at the gradients of every step.

    On a GPU the answer would have to be waited for. So an optimiser that can leave a step out by itself is
    given the answer on the device, and here it is read a step late.

    Args:
        optimizer: whose steps they are.
        clip_norm: the largest norm of all the gradients together, or None.
    """

    def __init__(self, optimizer: PyroOptim, clip_norm: float | None) -> None:
        self._clip_norm = clip_norm
        self._skips = optimizer if isinstance(optimizer, JointOptim) and optimizer.fused else None
        self._unread: _Unread | None = None

    def check(self, parameters: Sequence[Tensor], loss: float, problem: Callable[[], str]) -> None:
        """Check the gradients of ``parameters``, and clip them.

        Args:
            parameters: those that have a gradient.
            loss: the step's loss.
            problem: what to say if it, or the gradient, is not finite.

        Raises:
            NotFiniteError: it is not, or that of the last step was not.
        """
        self.settle()
        if not math.isfinite(loss):
            raise NotFiniteError(problem())
        if not parameters:
            return
        gradients: list[Any] = [parameter.grad for parameter in parameters]
        if self._clip_norm is None:
            # As finite as the sum of them all, for a third of the time that a norm takes.
            size = torch.stack([gradient.sum() for gradient in gradients]).sum()
        else:
            size = nn.utils.get_total_norm(gradients)
        # What is not finite is the only thing that differs from itself by other than zero.
        found_inf = (size - size != 0.0).float()
        self._unread = _Unread(found_inf, problem)
        if self._skips is None:
            self.settle()
        else:
            self._skips.found_inf = found_inf
        if self._clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, size)

    def settle(self) -> None:
        """Read the answer about the last step; if its gradient was not finite, it has changed nothing.

        Raises:
            NotFiniteError: it was not.
        """
        unread, self._unread = self._unread, None
        if unread is not None and unread.answer():
            raise NotFiniteError(unread.problem())


class _Unread:
    """An answer that a device is still working out."""

    def __init__(self, answer: Tensor, problem: Callable[[], str]) -> None:
        self.problem = problem
        self._answer = answer.to("cpu", non_blocking=True)
        self._ready = None
        if answer.device.type == "cuda":
            self._ready = torch.cuda.Event()
            self._ready.record()

    def answer(self) -> bool:
        """The answer, as soon as it is there."""
        if self._ready is not None:
            self._ready.synchronize()
        return bool(self._answer)
