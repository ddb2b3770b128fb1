"""Training with every estimator for the same time, from the same weights."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from typing import Any

import pyro
import torch
from pyro.infer import SVI

from pyro_mlvae.comparison.bounds import tight_bound
from pyro_mlvae.comparison.cases import Case
from pyro_mlvae.comparison.problem import Problem
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.training import Objective, elbo_terms, fused_adam
from pyro_mlvae.training.gradients import Checked, NotFiniteError
from pyro_mlvae.training.surroundings import on_place, validated_at_first

CHECKPOINTS = 8
IMPORTANCE_SAMPLES = 50
_PARTICLES = 10


def training_curves(
    problem: Problem,
    cases: Sequence[Case],
    *,
    seconds: float,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Train with each estimator for ``seconds``, and measure on ``problem.held_out`` on the way.

    They train in turns, from one checkpoint to the next, so that whatever else the machine does falls
    on all of them. The clock of each runs only while it trains, with the steps of ``fit``.

    Args:
        problem: what is trained, on what, and what it is measured on.
        cases: the estimators.
        seconds: for which each of them trains.
        seed: of the draws.
        progress: called with what is done next, once a checkpoint.

    Returns:
        One curve a case. Its lists are of equal length: ``seconds`` and ``steps`` of training, and what
        was measured then in nats per observation: ``elbo`` and ``group_iwae_50``, with the same draws
        every time. The curve of an estimator that diverges ends there.
    """
    # Curves bend most at their start, so it is looked at more often.
    ends = [seconds * (i / CHECKPOINTS) ** 2 for i in range(CHECKPOINTS + 1)]
    trainees = [_Trainee(problem, case, seed) for case in cases]
    for trainee in trainees:
        trainee.measure()
    for number, (start, end) in enumerate(pairwise(ends)):
        progress(f"training curves, {100 * number // CHECKPOINTS} %")
        for trainee in trainees:
            if not trainee.diverged:
                trainee.train(end - start, mixed_seed(seed, number))
                trainee.measure()
    return [trainee.curve for trainee in trainees]


class _Trainee:
    """A pair in training with one estimator, which stops and goes on."""

    def __init__(self, problem: Problem, case: Case, seed: int) -> None:
        self.diverged = False
        self.curve: dict[str, Any] = {"estimator": case.name, "num_particles": case.num_particles}
        self.curve |= {"seconds": [], "steps": [], "elbo": [], "group_iwae_50": []}
        model, self._guide = problem.pair()
        self._model = problem.trained_model(model)
        self._loss = Checked(Objective(case.make()))
        optimizer = fused_adam(problem.learning_rate)
        self._svi = SVI(self._model, self._guide, optimizer, loss=self._loss)
        self._batches = (batch for epoch in count() for batch in problem.sampler.epoch(epoch))
        self._like = next(iter(self._guide.parameters()))
        self._held_out, self._seed = problem.held_out, seed
        self._store: Any = {"params": {}, "constraints": {}}
        self._seconds, self._steps = 0.0, 0

    def train(self, seconds: float, seed: int) -> None:
        """At least one step, and as many more as there is time for."""
        devices = [self._like.device] if self._like.device.type == "cuda" else []
        with (
            contextlib.suppress(NotFiniteError),
            torch.random.fork_rng(devices),
            pyro.get_param_store().scope(self._store) as self._store,
            validated_at_first() as trust,
        ):
            torch.manual_seed(seed)
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
        batch, seed = self._held_out, self._seed
        with pyro.validation_enabled(False):
            terms = elbo_terms(self._model, self._guide, batch, num_particles=_PARTICLES, seed=seed)
            bound = tight_bound(self._model, self._guide, batch, IMPORTANCE_SAMPLES, seed=seed).sum()
        found = {"elbo": float(terms.elbo), "group_iwae_50": float(bound)}
        self.curve["seconds"].append(self._seconds)
        self.curve["steps"].append(self._steps)
        for name, value in found.items():
            self.curve[name].append(value / len(batch) if math.isfinite(value) else None)
