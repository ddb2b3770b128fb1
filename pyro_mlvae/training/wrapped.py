"""The base of what wraps an objective: processes, parts of minibatches, recorded steps, checks."""

from __future__ import annotations

from typing import Any

from pyro.infer import ELBO
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.estimators.terms import ElboTerms


class Wrapped(ELBO):
    """An objective with something around its gradient; a subclass defines ``loss_and_grads``.

    Args:
        objective: an :class:`~pyro_mlvae.Objective`, or another that is wrapped.

    Attributes:
        terms: the terms of the last pass, see :class:`~pyro_mlvae.Objective`.
        penalised: the penalties of the last pass, by name.
        norm: that of all gradients together, where it is known.
    """

    def __init__(self, objective: Any) -> None:
        super().__init__(num_particles=objective.num_particles)
        self.objective = objective
        self.terms = ElboTerms()
        self.penalised: dict[str, Any] = {}
        self.norm: Tensor | None = None

    @property
    def steps(self) -> int:
        """How many passes with a gradient were made."""
        return self.objective.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self.objective.steps = steps

    def loss(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        """The objective without a gradient."""
        return self.objective.loss(model, guide, batch)

    def _take_terms(self) -> None:
        self.terms, self.penalised = self.objective.terms, self.objective.penalised
        self.norm = None

    def _get_trace(self, *args: Any) -> tuple[Trace, Trace]:
        return self.objective._get_trace(*args)
