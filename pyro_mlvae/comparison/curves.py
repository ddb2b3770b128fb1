"""Training with every estimator for the same time, at its own best learning rate."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count, pairwise
from statistics import mean, stdev
from typing import Any

import pyro
import torch
from pyro.infer import SVI

from pyro_mlvae.comparison.cases import Case
from pyro_mlvae.comparison.problem import Problem
from pyro_mlvae.comparison.weights import draw_log_weights
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.estimators import nested_bound
from pyro_mlvae.estimators.programs import in_mode
from pyro_mlvae.training import Objective, fused_adam
from pyro_mlvae.training.gradients import Checked, NotFiniteError
from pyro_mlvae.training.surroundings import on_place, validated_at_first

CHECKPOINTS = 6
# Times the problem's own learning rate, which is the second.
RATES = (0.3, 1.0, 3.0, 10.0)
SEEDS = 3
MEASURED = ("elbo", "nested_iwae")
# Student's t for 95 %, by the number of seeds.
_QUANTILE = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
# Of content, and of style given each: 50 passes of the decoder.
NESTED_DRAWS = (10, 5)
_PARTICLES = 10
# Minibatches of another seed are those of epochs that no other seed comes to.
_APART = 1_000_000


def training_curves(
    problem: Problem,
    cases: Sequence[Case],
    *,
    seconds: float,
    passes: Mapping[Case, float | None] | None = None,
    rates: Sequence[float] = RATES,
    seeds: int = SEEDS,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Train with each estimator for ``seconds`` at its best learning rate, with several seeds.

    A learning rate is chosen for each by the held-out ELBO after a quarter of the time, with a seed
    of its own. They train in turns, from one checkpoint to the next, so that whatever else the
    machine does falls on all of them. The clock of each runs only while it trains, with the steps
    of ``fit``.

    Args:
        problem: what is trained, on what, and what it is measured on.
        cases: the estimators.
        seconds: for which each of them trains.
        passes: how often a step of each sends an observation through a network.
        rates: learning rates, as multiples of the problem's own.
        seeds: of draws and minibatches; the weights at the start are the problem's.
        seed: of the seeds.
        progress: called with what is done next, once a rate and once a checkpoint.

    Returns:
        One curve a case. Its lists are of equal length, means over seeds: ``seconds`` and ``steps``
        of training, ``passes`` through the networks for each observation of a minibatch, and what
        was measured then in nats per observation: ``elbo`` and ``nested_iwae``, with the same draws
        every time, each with the half width of its 95 % interval. The curve of an estimator that
        diverges with any seed ends there.
    """
    chosen = dict.fromkeys(cases, problem.learning_rate)
    if len(rates) > 1:
        chosen = _best_rates(
            problem, cases, rates, seconds / 4.0, mixed_seed(seed, seeds), progress
        )
    # Curves bend most at their start, so it is looked at more often.
    ends = [seconds * (i / CHECKPOINTS) ** 2 for i in range(CHECKPOINTS + 1)]
    trainees = {
        case: [
            Trainee(problem, case, chosen[case], mixed_seed(seed, number))
            for number in range(seeds)
        ]
        for case in cases
    }
    everyone = [trainee for own in trainees.values() for trainee in own]
    for trainee in everyone:
        trainee.measure()
    for number, (start, end) in enumerate(pairwise(ends)):
        progress(f"training curves, {100 * number // CHECKPOINTS} %")
        for trainee in everyone:
            trainee.train(end - start)
            trainee.measure()
    per_step = {} if passes is None else passes
    return [
        {
            "estimator": case.name,
            "num_particles": case.num_particles,
            "learning_rate": chosen[case],
            "seeds": seeds,
            **_mean_curve([trainee.curve for trainee in own], per_step.get(case)),
        }
        for case, own in trainees.items()
    ]


def _best_rates(
    problem: Problem,
    cases: Sequence[Case],
    rates: Sequence[float],
    seconds: float,
    seed: int,
    progress: Callable[[str], None],
) -> dict[Case, float]:
    """The learning rate of each case with which the held-out ELBO is highest after ``seconds``."""
    found: dict[Case, dict[float, float]] = {case: {} for case in cases}
    for factor in rates:
        rate = float(f"{factor * problem.learning_rate:.6g}")
        progress(f"learning rate {rate:g}")
        for case in cases:
            trainee = Trainee(problem, case, rate, seed)
            trainee.train(seconds)
            trainee.measure()
            elbo = trainee.curve["elbo"]
            found[case][rate] = -math.inf if not elbo or elbo[-1] is None else elbo[-1]
    return {case: max(own, key=own.__getitem__) for case, own in found.items()}


def _mean_curve(curves: Sequence[Mapping[str, Any]], passes: float | None) -> dict[str, Any]:
    """The curves of several seeds as one, as long as the shortest."""
    points = range(min(len(curve["steps"]) for curve in curves))
    steps = [mean(curve["steps"][i] for curve in curves) for i in points]
    found: dict[str, Any] = {
        "seconds": [mean(curve["seconds"][i] for curve in curves) for i in points],
        "steps": steps,
        "passes": None if passes is None else [passes * number for number in steps],
    }
    for name in MEASURED:
        values = [[curve[name][i] for curve in curves] for i in points]
        known = [None not in own for own in values]
        found[name] = [mean(own) if ok else None for own, ok in zip(values, known, strict=True)]
        found[f"{name}_interval"] = [
            _half_width(own) if ok else None for own, ok in zip(values, known, strict=True)
        ]
    return found


def _half_width(values: Sequence[float]) -> float | None:
    """Of the 95 % interval of a mean; None for a single value."""
    size = len(values)
    return None if size < 2 else _QUANTILE.get(size, 1.96) * stdev(values) / math.sqrt(size)


class Trainee:
    """A copy of the problem's pair, with the optimiser of ``fit`` and an estimator.

    Args:
        problem: what is trained, on what, and what it is measured on.
        case: the estimator.
        learning_rate: Adam's.
        seed: of its draws and minibatches.

    Attributes:
        curve: what was measured: ``seconds``, ``steps``, ``elbo`` and ``nested_iwae``.
        diverged: whether a loss or a gradient was not finite; then nothing is done or measured any
            more.
    """

    def __init__(self, problem: Problem, case: Case, learning_rate: float, seed: int) -> None:
        self.diverged = False
        self.curve: dict[str, list[Any]] = {name: [] for name in ("seconds", "steps", *MEASURED)}
        model, self._guide = problem.pair()
        self._model = problem.trained_model(model)
        self._loss = Checked(Objective(case.make()))
        self._svi = SVI(self._model, self._guide, fused_adam(learning_rate), loss=self._loss)
        first = _APART * (seed % 1000)
        self._batches = (batch for epoch in count(first) for batch in problem.sampler.epoch(epoch))
        self._like = next(iter(self._guide.parameters()))
        self._held_out, self._seed = problem.held_out, seed
        self._store: Any = {"params": {}, "constraints": {}}
        self._seconds, self._steps = 0.0, 0

    def train(self, seconds: float) -> None:
        """At least one step, and as many more as there is time for."""
        if self.diverged:
            return
        devices = [self._like.device] if self._like.device.type == "cuda" else []
        with (
            contextlib.suppress(NotFiniteError),
            torch.random.fork_rng(devices),
            pyro.get_param_store().scope(self._store) as self._store,
            validated_at_first() as trust,
        ):
            torch.manual_seed(mixed_seed(self._seed, self._steps))
            self.diverged = True  # until the slice has been gone through
            started = now = time.perf_counter()
            while now - started < seconds or now == started:
                batch = next(self._batches)
                self._loss.where = f"step {self._steps + 1}, before the update"
                self._svi.step(on_place(batch, self._like.device, self._like.dtype))
                trust()
                self._steps += 1
                now = time.perf_counter()
            self._seconds += now - started
            self.diverged = False

    def measure(self) -> None:
        """Note the held-out ELBO and the tighter bound, with draws that are always the same."""
        if self.diverged:
            return
        pair, batch = (self._model, self._guide), self._held_out
        with pyro.validation_enabled(False), in_mode(*pair, training=False):
            elbo = draw_log_weights(*pair, batch, _PARTICLES, seed=0).mean(0).sum()
            bound = nested_bound(*pair, batch, *NESTED_DRAWS).sum()
        found = {"elbo": float(elbo), "nested_iwae": float(bound)}
        self.curve["seconds"].append(self._seconds)
        self.curve["steps"].append(self._steps)
        for name, value in found.items():
            self.curve[name].append(value / len(batch) if math.isfinite(value) else None)
