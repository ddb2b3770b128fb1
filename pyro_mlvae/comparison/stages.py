"""One stage of training, and every estimator measured at it: values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import nn

from pyro_mlvae.comparison.alignment import Alignment
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
from pyro_mlvae.comparison.weights import (
    WEIGHT_DRAWS,
    draw_log_weights,
    effective_sample_size,
    k_hat,
    weighs_units,
)
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.estimators import nested_bound
from pyro_mlvae.solved import LinearGaussian, exact_elbo

# Streams of seeds that share nothing.
_MEASURED, _REFERENCE, _BOUND, _WEIGHTS, TRAINING, SIMULATED, CURVES = range(7)
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
    nested_draws: tuple[int, int],
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
        nested_draws: of content, and of style given each, in the bound that stands for an evidence
            that is not known.
        seed: of all draws.
        progress: called with what is done next.
    """
    batch, parts = problem.batch, gradient_parts(model, guide)
    progress(f"{stage}: the reference")
    evidence = problem.log_evidence(batch)
    if evidence is None:
        own_seed = mixed_seed(seed, _BOUND)
        evidence = float(nested_bound(model, guide, batch, *nested_draws, seed=own_seed).sum())
    references = _references(problem, model, guide, cases, reference_draws, seed)
    log_weights = None
    if any(weighs_units(case) for case in cases):
        count = max(WEIGHT_DRAWS, *(10 * case.num_particles for case in cases))
        log_weights = draw_log_weights(model, guide, batch, count, seed=mixed_seed(seed, _WEIGHTS))
    rows = []
    for case in cases:
        progress(f"{stage}: {case}")
        estimator = case.make()
        reference = references[reference_case(case, exact=has_exact_gradient(problem))]
        exact = references.get(None, {})
        moments = {part: Moments(reference[part].direction) for part in PARTS if parts[part]}
        aligned = {part: Alignment(exact[part].direction if exact else None) for part in moments}
        losses: list[float] = []
        own_seed = mixed_seed(seed, _MEASURED)
        for draw in draw_gradients(estimator, model, guide, batch, parts, draws, seed=own_seed):
            losses.append(draw.loss)
            for part, gradient in draw.gradients.items():
                moments[part].add(gradient)
                aligned[part].add(gradient)
        values = -torch.tensor(losses, dtype=torch.float64) / len(batch)
        rounding = rounding_of(max(map(abs, losses)), batch.x.dtype)
        statistics = {
            part: gradient_statistics(found, reference[part], rounding)
            for part, found in moments.items()
        }
        # What is rounding alone points nowhere.
        known = {part: own for part, own in aligned.items() if statistics[part].snr is not None}
        value = float(values.mean())
        size, tail = (
            None if log_weights is None else measure(case, log_weights)
            for measure in (effective_sample_size, k_hat)
        )
        rows.append(
            {
                "estimator": case.name,
                "num_particles": case.num_particles,
                "stage": stage,
                "value": _finite(value),
                "standard_error": _finite(float(values.std()) / math.sqrt(len(values))),
                "gap": _finite(evidence / len(batch) - value),
                **{
                    column: {
                        part: getattr(statistics.get(part, _UNDEFINED), name) for part in PARTS
                    }
                    for column, name in _COLUMNS.items()
                },
                "gradient_cosine": {
                    part: getattr(known.get(part), "cosine", None) for part in PARTS
                },
                "gradient_directional_snr": {
                    part: getattr(known.get(part), "directional_snr", None) for part in PARTS
                },
                "effective_sample_size": None if size is None else _finite(size),
                "k_hat": None if tail is None else _finite(tail),
            }
        )
    return rows


def has_exact_gradient(problem: Problem) -> bool:
    """Whether the gradient of the ELBO is known in closed form."""
    return isinstance(problem.solved, LinearGaussian)


def _references(
    problem: Problem,
    model: nn.Module,
    guide: nn.Module,
    cases: Sequence[Case],
    draws: int,
    seed: int,
) -> dict[Case | None, Mapping[str, Reference]]:
    """What mean gradients should be, by the case that tells; None is the exact gradient."""
    batch, parts = problem.batch, gradient_parts(model, guide)
    found: dict[Case | None, Mapping[str, Reference]] = {}
    exact = has_exact_gradient(problem)
    if exact:
        model.zero_grad()
        guide.zero_grad()
        (-exact_elbo(model, guide, batch)).backward()  # type: ignore[arg-type]
        found[None] = exact_reference(collect_gradients(parts))
    for case in cases:
        reference = reference_case(case, exact=exact)
        if reference is None or reference in found:
            continue
        if reference == case:
            # Only itself to compare with, which would say that draws repeat, not that they are
            # right.
            found[case] = {part: Reference(None) for part in PARTS}
            continue
        own_seed = mixed_seed(seed, _REFERENCE)
        several = draw_gradients(reference.make(), model, guide, batch, parts, draws, seed=own_seed)
        found[reference] = reference_from(several, draws)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
