"""A pair in training with one estimator, which stops and goes on."""

from __future__ import annotations

import contextlib
import math
import time
from itertools import count
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

# Of content, and of style given each: 50 passes of the decoder.
NESTED_DRAWS = (10, 5)
_PARTICLES = 10
# Minibatches of another seed are those of epochs that no other seed comes to.
_APART = 1_000_000


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
        self.curve: dict[str, list[Any]] = {
            "seconds": [],
            "steps": [],
            "elbo": [],
            "nested_iwae": [],
        }
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
