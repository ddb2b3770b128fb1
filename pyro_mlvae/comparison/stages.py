"""One stage of training, and every estimator measured at it: values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import nn

from pyro_mlvae.comparison.bounds import effective_sample_size, tight_bound
from pyro_mlvae.comparison.cases import Case, reference_case
from pyro_mlvae.comparison.gradients import (
    Moments,
    Reference,
    Statistics,
    collect_gradients,
    draw_gradients,
    exact_reference,
    gradient_statistics,
    reference_from,
    rounding_of,
)
from pyro_mlvae.comparison.parts import PARTS, gradient_parts
from pyro_mlvae.comparison.problem import Problem
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.solved.elbo import exact_elbo

# Streams of seeds that share nothing.
_MEASURED, _REFERENCE, _BOUND, _WEIGHTS, TRAINING = range(5)
_COLUMNS = {"gradient_snr": "snr", "gradient_variance": "variance", "gradient_bias_z": "bias_z"}
_UNDEFINED = Statistics(None, None, None)


@pyro.validation_enabled(False)
def measure_stage(
    stage: str,
    problem: Problem,
    model: nn.Module,
    guide: nn.Module,
    cases: Sequence[Case],
    *,
    draws: int,
    reference_draws: int,
    importance_samples: int,
    seed: int,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The rows of one stage, one a case, without what a step costs.

    Args:
        stage: what it is called.
        problem: for its batch, and its evidence if that is known.
        model: the model, as it is at that stage.
        guide: its guide, likewise.
        cases: what is measured.
        draws: of each estimator and its gradient, the same seeds for all of them.
        reference_draws: of the estimators against which gradients are checked.
        importance_samples: of the bound that stands for an evidence that is not known.
        seed: of all draws.
        progress: called with what is done next.
    """
    batch, parts = problem.batch, gradient_parts(model, guide)
    progress(f"{stage}: the reference")
    evidence = problem.log_evidence(batch)
    if evidence is None:
        own_seed = mixed_seed(seed, _BOUND)
        evidence = float(tight_bound(model, guide, batch, importance_samples, seed=own_seed).sum())
    references = _references(problem, model, guide, cases, reference_draws, seed)
    rows = []
    for case in cases:
        progress(f"{stage}: {case}")
        estimator = case.make()
        reference = references[reference_case(case, exact=problem.solved is not None)]
        moments = {part: Moments(reference[part].direction) for part in PARTS if parts[part]}
        losses: list[float] = []
        own_seed = mixed_seed(seed, _MEASURED)
        for draw in draw_gradients(estimator, model, guide, batch, parts, draws, seed=own_seed):
            losses.append(draw.loss)
            for part, gradient in draw.gradients.items():
                moments[part].add(gradient)
        values = -torch.tensor(losses, dtype=torch.float64) / len(batch)
        rounding = rounding_of(max(map(abs, losses)), batch.x.dtype)
        statistics = {
            part: gradient_statistics(found, reference[part], rounding) for part, found in moments.items()
        }
        size = effective_sample_size(
            case.name, estimator, model, guide, batch, seed=mixed_seed(seed, _WEIGHTS)
        )
        value = float(values.mean())
        rows.append(
            {
                "estimator": case.name,
                "num_particles": case.num_particles,
                "stage": stage,
                "value": _finite(value),
                "standard_error": _finite(float(values.std()) / math.sqrt(len(values))),
                "gap": _finite(evidence / len(batch) - value),
                **{
                    column: {part: getattr(statistics.get(part, _UNDEFINED), name) for part in PARTS}
                    for column, name in _COLUMNS.items()
                },
                "effective_sample_size": None if size is None else _finite(size),
            }
        )
    return rows


def _references(
    problem: Problem,
    model: nn.Module,
    guide: nn.Module,
    cases: Sequence[Case],
    draws: int,
    seed: int,
) -> Mapping[Case | None, Mapping[str, Reference]]:
    """What mean gradients should be, for every reference that a case needs; None is the exact one."""
    batch, parts = problem.batch, gradient_parts(model, guide)
    found: dict[Case | None, Mapping[str, Reference]] = {}
    for case in dict.fromkeys(reference_case(case, exact=problem.solved is not None) for case in cases):
        if case is None:
            model.zero_grad()
            guide.zero_grad()
            (-exact_elbo(model, guide, batch)).backward()  # type: ignore[arg-type]
            found[None] = exact_reference(collect_gradients(parts))
        else:
            own_seed = mixed_seed(seed, _REFERENCE)
            several = draw_gradients(case.make(), model, guide, batch, parts, draws, seed=own_seed)
            found[case] = reference_from(several, draws)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
