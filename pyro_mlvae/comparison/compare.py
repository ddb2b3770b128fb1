"""ELBO estimators side by side: how tight, how noisy, how biased, how slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from statistics import median
from typing import Any

import pyro

from pyro_mlvae.comparison.cases import check_cases, merged, runnable
from pyro_mlvae.comparison.cost import network_passes, step_times
from pyro_mlvae.comparison.curves import CHECKPOINTS, RATES, SEEDS, training_curves
from pyro_mlvae.comparison.memory import memory_of_steps
from pyro_mlvae.comparison.problem import Problem
from pyro_mlvae.comparison.sandwich import sandwich
from pyro_mlvae.comparison.stages import CURVES, SIMULATED, TRAINING, measure_stage
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.training import fit, fused_adam

FORMAT_VERSION = 1
# "graph" is left out: where every site is reparameterised, as all of ours are, it equals "trace".
DEFAULT_ESTIMATORS = (
    "trace", "mean-field", "stl", "local", "renyi", "group-iwae", "group-renyi", "dreg", "miwae",
    "piwae", "ciwae", "rws", "nested-iwae",
)  # fmt: skip
TIMED_ROUNDS = 15
# What a comparison takes unless it is told otherwise: on digits three minutes of two cores.
USUAL: Mapping[str, Any] = {
    "draws": 80,
    "reference_draws": 160,
    "seconds": 0.45,
    "nested_draws": (50, 20),
}

Callback = Callable[[str, int, int], None]


def compare_elbos(
    problem: Problem,
    estimators: Sequence[str] = DEFAULT_ESTIMATORS,
    particles: Sequence[int] = (1, 10),
    *,
    alpha: float | None = None,
    epochs: int = 100,
    draws: int = USUAL["draws"],
    reference_draws: int = USUAL["reference_draws"],
    seconds: float = USUAL["seconds"],
    rates: Sequence[float] = RATES,
    seeds: int = SEEDS,
    nested_draws: tuple[int, int] = USUAL["nested_draws"],
    memory: bool = True,
    seed: int = 0,
    callback: Callback | None = None,
) -> dict[str, Any]:
    """Measure every estimator with every number of particles, before training and after.

    Args:
        problem: what they are compared on; it is left as it was.
        estimators: their names, as :func:`~pyro_mlvae.make_estimator` takes them.
        particles: numbers of particles.
        alpha: the order of those that have one, "renyi" and "group-renyi"; by default their own.
        epochs: of training, with "trace", between the two stages.
        draws: of each estimator and its gradient, at each stage.
        reference_draws: of another unbiased estimator of the same objective, from which the mean
            gradient is known where it is not known exactly.
        seconds: for which every estimator trains for its curve; 0 for no curves.
        rates: learning rates that each may choose from, as multiples of the problem's.
        seeds: with which each trains.
        nested_draws: of content, and of style given each, in the nested bound that values are
            compared with where the evidence is not known.
        memory: whether to measure the growth of memory, each in a child process.
        seed: of all draws and of training.
        callback: called with what is done next, how many parts are done, and of how many.

    Returns:
        What elbos.json holds. Values are in nats per observation (pseudo-nats where ``units`` says
        so), at scale 1: ``gap`` is how far below the reference. Estimators that are equal draw by
        draw share a row: ``also`` names the others. For each part of the parameters, which are
        those of the two heads of the encoder and of the decoder: ``gradient_variance`` is the trace
        of the covariance of one gradient of the batch's loss, in nats, ``gradient_snr`` the norm of
        its mean over the root of that, ``gradient_bias_z`` the deviation of its mean from the
        gradient of the estimator's own objective, along that, in standard errors;
        ``gradient_cosine`` and ``gradient_directional_snr`` compare with the exact gradient of the
        ELBO. ``sandwich`` has bounds from both sides on data that the trained model drew; of one
        that cannot draw x it is empty, and ``sandwich_missing`` says why. ``curves`` is training
        for equal time. None is what is not defined: a part without parameters, or a ratio to a
        variance of zero.

    Raises:
        InputError: an estimator is not known, an argument is out of range, or none of the
            estimators takes this pair.

    >>> from pyro_mlvae.comparison import solved_problem
    >>> exact = solved_problem(groups=2, observations_per_group=3, exact=True)
    >>> few = dict(epochs=1, draws=4, reference_draws=4, seconds=0, memory=False)
    >>> comparison = compare_elbos(exact, ["trace", "mean-field"], [1], **few)
    >>> [abs(row["gap"]) < 1e-8 for row in comparison["rows"]][:2]  # of the exact posterior
    [True, False]
    """
    asked = check_cases(estimators, particles, alpha)
    check_settings(epochs, draws, reference_draws, seconds, seed)
    require_positive(seeds=seeds, contents=nested_draws[0], styles=nested_draws[1])
    started = time.perf_counter()
    model, guide = problem.pair()
    asked, refused = runnable(asked, model, guide, problem.batch)
    also = merged(asked)
    cases = list(also)
    choices = len(rates) if len(rates) > 1 else 0
    parts = 2 * (len(cases) + 1) + 4 + (CHECKPOINTS + choices if seconds else 0)
    done = count()

    def progress(what: str) -> None:
        if callback is not None:
            callback(what, next(done), parts)

    counts: dict[str, Any] = {"draws": draws, "reference_draws": reference_draws}
    progress("memory")
    peaks = memory_of_steps(model, guide, problem.batch, cases) if memory else [None] * len(cases)
    settings: Any = {**counts, "nested_draws": nested_draws, "seed": seed, "progress": progress}
    rows = measure_stage("initial", problem, model, guide, cases, **settings)
    progress("timing steps")
    with pyro.validation_enabled(False):
        timed = {case: case.make() for case in cases}
        times = step_times(timed, model, guide, problem.batch, rounds=TIMED_ROUNDS)
        passes = {case: network_passes(timed[case], model, guide, problem.batch) for case in cases}
    progress("training")
    fit(
        problem.trained_model(model),
        guide,
        problem.sampler,
        epochs=epochs,
        optimizer=fused_adam(problem.learning_rate),
        dtype=problem.batch.x.dtype,
        seed=mixed_seed(seed, TRAINING),
    )
    rows += measure_stage("trained", problem, model, guide, cases, **settings)
    for number, row in enumerate(rows):
        place = number % len(cases)
        case = cases[place]
        row |= {"ms_per_step": median(times[case]), "peak_mb": peaks[place]}
        row |= {"passes_per_step": passes[case], "also": also[case]}
    progress("bounds from both sides")
    solved = None if problem.solved is None else problem.solved.log_evidence
    with pyro.validation_enabled(False):
        own_seed, missing = mixed_seed(seed, SIMULATED), None
        try:
            between = sandwich(model, guide, problem.batch, log_evidence=solved, seed=own_seed)
        except InputError as error:  # Not every model can draw x.
            between, missing = [], str(error)
    curves = []
    if seconds:
        settings = {"seconds": seconds, "passes": passes, "rates": rates, "seeds": seeds}
        own_seed = mixed_seed(seed, CURVES)
        curves = training_curves(problem, cases, **settings, seed=own_seed, progress=progress)
    progress("done")
    held_out = problem.log_evidence(problem.held_out)
    return {
        "format_version": FORMAT_VERSION,
        "data": problem.name,
        "reference": "exact" if problem.solved else f"nested-{nested_draws[0]}x{nested_draws[1]}",
        "observations": len(problem.batch),
        "groups": problem.batch.num_groups,
        "rows": rows,
        "refused": refused,
        "sandwich": between,
        "sandwich_missing": missing,
        "curves": curves,
        "held_out": {
            "observations": len(problem.held_out),
            "groups": problem.held_out.num_groups,
            "log_evidence": None if held_out is None else held_out / len(problem.held_out),
        },
        "units": problem.units,
        "alpha": alpha,
        "epochs": epochs,
        "seed": seed,
        **counts,
        "seconds": time.perf_counter() - started,
    }


def check_settings(
    epochs: int, draws: int, reference_draws: int, seconds: float, seed: int
) -> None:
    """Raise where :func:`compare_elbos` would refuse one of these, before anything is done.

    Raises:
        InputError: one of them is out of range.
    """
    require_positive(epochs=epochs)
    require_seed(seed)
    _require_at_least(2, draws=draws)
    _require_at_least(4, reference_draws=reference_draws)
    if not seconds >= 0.0:
        raise InputError(
            f"seconds must be at least 0, got {seconds}: give the time of each training curve"
        )


def _require_at_least(least: int, **arguments: int) -> None:
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
