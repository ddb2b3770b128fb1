"""What a step costs: time, with the estimators in turns, and passes through the networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pyro
import torch
from pyro.infer import ELBO, SVI
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.training import Objective, fused_adam

Key = TypeVar("Key")


def step_times(
    estimators: Mapping[Key, ELBO],
    model: nn.Module,
    guide: nn.Module,
    batch: GroupedBatch,
    *,
    rounds: int = 15,
) -> dict[Key, list[float]]:
    """The times of whole steps (objective of ``fit``, gradient, optimiser), in milliseconds.

    They take their steps in turns, so that whatever else the machine does falls on all of them. The
    learning rate is zero, which costs the same, and leaves the pair as it was. Steps are eager:
    ``fit`` records those that it can, which takes a millisecond or two off each.
    """
    device = batch.x.device
    times: dict[Key, list[float]] = {case: [] for case in estimators}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
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


def make_step(
    model: nn.Module, guide: nn.Module, estimator: ELBO
) -> Callable[[GroupedBatch], float]:
    """A whole step of ``fit``, with a learning rate of zero, and a parameter store of its own."""
    svi = SVI(model, guide, fused_adam(0.0), loss=Objective(estimator))
    store: Any = {"params": {}, "constraints": {}}

    def step(batch: GroupedBatch) -> float:
        nonlocal store
        with pyro.get_param_store().scope(store) as store:
            loss: float = svi.step(batch)
        return loss

    return step


@dataclass
class Passes:
    """How many observations went through the encoder and through the decoder."""

    encoded: int = 0
    decoded: int = 0


def network_passes(
    estimator: ELBO, model: nn.Module, guide: nn.Module, batch: GroupedBatch
) -> float | None:
    """How often one loss sends each observation through a network, encoder plus decoder.

    A count of forward passes, the same on every machine: 2 for "trace" with one particle, 11 with
    ten. None where model and guide have no ``observation`` and ``encode`` through which all of them
    go.

    >>> from pyro_mlvae import make_estimator
    >>> from pyro_mlvae.comparison import solved_problem
    >>> problem = solved_problem(groups=2, observations_per_group=2)
    >>> for name in ("trace", "stl"):
    ...     network_passes(make_estimator(name, 10), *problem.pair(), problem.batch)
    11.0
    12.0
    """
    devices = [batch.x.device] if batch.x.device.type == "cuda" else []
    with (
        counted(model, guide) as passes,
        torch.random.fork_rng(devices),
        torch.no_grad(),
        pyro.get_param_store().scope(),
    ):
        estimator.loss(model, guide, batch)  # type: ignore[attr-defined]
    total = passes.encoded + passes.decoded
    return total / len(batch) if passes.encoded and passes.decoded else None


@contextmanager
def counted(model: nn.Module, guide: nn.Module) -> Iterator[Passes]:
    """While it lasts, what goes through ``guide.encode`` and ``model.observation`` is counted."""
    passes, wrapped = Passes(), []

    def wrap(module: nn.Module, name: str, count: Callable[..., None]) -> None:
        method = getattr(module, name, None)
        if method is None:
            return

        def counting(*args: Any, **kwargs: Any) -> Any:
            count(*args, **kwargs)
            return method(*args, **kwargs)

        # On the instance, past nn.Module's own attributes.
        vars(module)[name] = counting
        wrapped.append((module, name))

    def encode(x: Tensor) -> None:
        passes.encoded += len(x)

    def decode(content: Tensor, style: Tensor) -> None:
        passes.decoded += torch.broadcast_shapes(content.shape[:-1], style.shape[:-1]).numel()

    wrap(guide, "encode", encode)
    wrap(model, "observation", decode)
    try:
        yield passes
    finally:
        for module, name in wrapped:
            del vars(module)[name]
