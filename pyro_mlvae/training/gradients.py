"""Gradients before the update: checked to be finite, and clipped."""

from __future__ import annotations

import math
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.programs import Program, module_of
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.training.history import History
from pyro_mlvae.training.wrapped import Wrapped


class NotFiniteError(Exception):
    """A NaN or an infinity in the loss or its gradient; says where, which term, and what to try."""


class DivergedError(InputError):
    """Raised when training meets a NaN or an infinity, before it reaches the weights.

    Attributes:
        history: the epochs that were completed.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


class Checked(Wrapped):
    """An objective whose gradients are checked, and clipped, before SVI makes its step.

    Attributes:
        where: for messages, the step.
    """

    def __init__(self, objective: Any, clip_norm: float | None = None) -> None:
        if clip_norm is not None and not clip_norm > 0.0:
            raise InputError(
                f"clip_norm must be positive, or None for no clipping, got {clip_norm}"
            )
        super().__init__(objective)
        self._clip_norm = clip_norm
        self.where = ""
        self._verified = False

    def loss_and_grads(
        self, model: Program, guide: Program, batch: GroupedBatch, *args: Any
    ) -> float:
        """The objective; leaves gradients on the parameters that are finite, and clipped.

        Raises:
            NotFiniteError: the loss or its gradient is NaN or infinite.
            InputError: no parameter is trained, or one would never be.
        """
        loss: float = self.objective.loss_and_grads(model, guide, batch, *args)
        if not self._verified:
            require_trained(model, guide)
            self._verified = True
        if not math.isfinite(loss):
            raise self._error(loss)
        parameters = [p for _, p in pyro.get_param_store().named_parameters() if p.grad is not None]
        gradients: list[Tensor] = [p.grad for p in parameters]  # type: ignore[misc]
        size = self.objective.norm
        size = nn.utils.get_total_norm(gradients) if size is None else size
        if self._clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, size)
        if not math.isfinite(size):
            raise self._error(loss)
        return loss

    def _error(self, loss: float) -> NotFiniteError:
        return NotFiniteError(
            not_finite(self.objective.terms, loss, self.where, self.objective.penalised)
        )


def not_finite(
    terms: ElboTerms, loss: float, where: str, penalised: dict[str, Any] | None = None
) -> str:
    """What to say of a loss, or a gradient, that is not finite."""
    values = terms.per_observation() | (penalised or {})
    bad = [name for name, value in values.items() if not math.isfinite(float(value))]
    named = [name for name in bad if name != "elbo"] or ["the gradient"]
    return (
        f"training stopped at {where}: {' and '.join(named)} is not "
        f"finite (loss {loss:.4g}); try a smaller learning rate, clip_norm=10, or rescale x"
    )


def require_trained(model: Program, guide: Program) -> None:
    """Raise :class:`InputError` where not all that takes part would be trained.

    Every parameter that has a gradient must be in the store as itself, or it never moves.
    """
    stored = {id(p): p for _, p in pyro.get_param_store().named_parameters()}
    if not any(parameter.grad is not None for parameter in stored.values()):
        raise InputError(
            "no parameter of model or guide has a gradient, so nothing would be trained: call "
            "requires_grad_(True) on what should be, and build it outside torch.inference_mode()"
        )
    for kind, program in (("model", model), ("guide", guide)):
        module = module_of(program)
        for name, parameter in [] if module is None else module.named_parameters():
            if parameter.grad is not None and id(parameter) not in stored:
                raise InputError(
                    f"the {kind}'s parameter {name!r} would never be trained: model and guide "
                    f"register different parameters under that name; rename the attribute "
                    f"{name.split('.')[0]!r} in one of them, or name the module with "
                    f"PyroModule.__init__(name={kind!r})"
                )
