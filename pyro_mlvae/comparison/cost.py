"""What a step costs: time, with the estimators in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import pyro
import torch
from pyro.infer import ELBO, SVI
from pyro.optim import Adam  # type: ignore[attr-defined]
from torch import nn

from pyro_mlvae.data.batch import GroupedBatch

Case = TypeVar("Case")


def step_times(
    estimators: Mapping[Case, ELBO],
    model: nn.Module,
    guide: nn.Module,
    batch: GroupedBatch,
    *,
    rounds: int = 15,
) -> dict[Case, list[float]]:
    """The times of whole steps of ``SVI`` (loss, gradient, Adam's update), in milliseconds.

    They take their steps in turns, so that whatever else the machine does falls on all of them. The
    learning rate is zero, which costs the same, and leaves the pair as it was.
    """
    device = batch.x.device
    times: dict[Case, list[float]] = {case: [] for case in estimators}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), pyro.get_param_store().scope():
        steps = {case: make_step(model, guide, estimator) for case, estimator in estimators.items()}
        for number in range(rounds + 1):
            for case, step in steps.items():
                started = time.perf_counter()
                step(batch)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if number:  # the first makes what later ones find: the optimiser's state, caches
                    times[case].append(1000.0 * (time.perf_counter() - started))
    return times


def make_step(model: nn.Module, guide: nn.Module, estimator: ELBO) -> Callable[[GroupedBatch], float]:
    """A whole step of ``SVI``, with a learning rate of zero."""
    step: Callable[[GroupedBatch], float] = SVI(model, guide, Adam({"lr": 0.0}), loss=estimator).step
    return step
