"""How many importance weights count, and how heavy their tail is."""

from __future__ import annotations

import pyro
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.comparison.cases import UNWEIGHTED, Case
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators import GroupIWAE
from pyro_mlvae.evaluation.k_hat import pareto_k_hat

# Weights of a group whose tail is fitted, at the least; they are drawn so many at a time.
WEIGHT_DRAWS = 1000
_AT_ONCE = 50


@torch.no_grad()
def draw_log_weights(
    model: nn.Module, guide: nn.Module, batch: GroupedBatch, count: int, *, seed: int
) -> Float[Tensor, "draws units"]:
    """``count`` log importance weights of every group, in nats, in float64.

    The random state and the parameter store of the caller are left as they were.
    """
    devices = [batch.x.device] if batch.x.device.type == "cuda" else []
    found = []
    with torch.random.fork_rng(devices), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        for start in range(0, count, _AT_ONCE):
            own = min(_AT_ONCE, count - start)
            estimator = GroupIWAE(own, vectorize_particles=own > 1, max_plate_nesting=1)
            log_weights, _ = estimator.log_weights(model, guide, batch)
            found.append(log_weights.double())
    return torch.cat(found)


def weighs_units(case: Case) -> bool:
    """Whether the case has one weight for each particle of a group, or of the batch."""
    return case.same.name not in (*UNWEIGHTED, "nested-iwae")


def effective_sample_size(case: Case, log_weights: Float[Tensor, "draws units"]) -> float | None:
    """How many of K samples count, of 1 to K: one over the sum of squared weights.

    A mean over as many draws of K weights as there are, and over groups where every group has
    weights of its own. None for an estimator that has no such weights.

    Args:
        case: the estimator, with its number of particles K.
        log_weights: at least K of each group, :func:`draw_log_weights`.
    """
    if not weighs_units(case):
        return None
    count = case.num_particles
    own = _of_case(case, log_weights)
    power = 1.0 - float(getattr(case.make(), "alpha", 0.0))
    sets = own[: len(own) // count * count].unflatten(0, (-1, count))
    weights = (power * sets).softmax(1)
    return float((1.0 / weights.square().sum(1)).mean())


def k_hat(case: Case, log_weights: Float[Tensor, "draws units"]) -> float | None:
    """The median k-hat of the groups' weights, or of the batch's one; None without weights.

    It is a property of model and guide, and not of how many particles are averaged.
    """
    return float(pareto_k_hat(_of_case(case, log_weights)).median()) if weighs_units(case) else None


def _of_case(case: Case, log_weights: Tensor) -> Tensor:
    """Pyro's "renyi" has one weight for the batch: the product of those of its groups."""
    return log_weights.sum(-1, keepdim=True) if case.name == "renyi" else log_weights
