"""What training is judged by: the ELBO, and the objective, on observations that it does not see."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.programs import Program, seeded
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.penalties import Penalty
from pyro_mlvae.training.gradients import NotFiniteError, not_finite
from pyro_mlvae.training.objective import Objective
from pyro_mlvae.training.surroundings import UNVALIDATED
from pyro_mlvae.training.terms import elbo_terms


def measured(
    model: Program,
    guide: Program,
    validation: GroupedBatch,
    penalties: Sequence[Penalty],
    epoch: int,
) -> tuple[ElboTerms, float]:
    """The ELBO's terms on the validation batch after an epoch, and the objective per observation.

    The objective is the ELBO less penalties, at their weights after any warm-up: the same measure
    from the first epoch to the last. The ELBO alone would prefer the weights from before a penalty
    has effect.

    Raises:
        NotFiniteError: one of them is NaN or infinite.
    """
    objective = Objective(penalties=penalties)
    with pyro.settings.context(**UNVALIDATED):
        terms = elbo_terms(model, guide, validation)
        value = float(terms.elbo)
        if penalties:
            with seeded(model, guide, device=validation.x.device, seed=0):
                value -= objective.penalty(model, guide, validation, steps=math.inf)
    if not math.isfinite(value):
        where = f"the validation after epoch {epoch}"
        raise NotFiniteError(not_finite(terms, -value, where, objective.penalised))
    return terms, value / terms.observations
