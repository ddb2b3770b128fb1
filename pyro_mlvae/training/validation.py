"""The objective on observations that training does not see, and the weights that are best there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyro
import torch
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Best:
    """The weights that were best on the validation batch."""

    value: float  # their objective there, in nats per observation
    steps: int  # after how many steps they were reached
    since: int = 0  # how many measurements came after them, none of which was better
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)  # copies, by name


def better(best: Best | None, value: float, steps: int, modules: Mapping[str, nn.Module]) -> Best:
    """The best weights, after a measurement of the present ones."""
    if best is not None and value <= best.value:
        return replace(best, since=best.since + 1)
    weights = {name: tensor.detach().clone() for name, tensor in _weights(modules).items()}
    return Best(value, steps, weights=weights)


def take_back(best: Best, modules: Mapping[str, nn.Module]) -> None:
    """Give modules, and parameters that functions made with ``pyro.param``, the best weights."""
    with torch.no_grad():
        for name, tensor in _weights(modules).items():
            tensor.copy_(best.weights[name])


def _weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Whatever training changes, by name; inside the scope of the parameter store."""
    of_modules = {id(p) for module in modules.values() for p in module.parameters()}
    weights = {
        f"{kind}.{name}": tensor
        for kind, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    return weights | {
        f"param.{name}": parameter
        for name, parameter in pyro.get_param_store().named_parameters()
        if id(parameter) not in of_modules
    }
