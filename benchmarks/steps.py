"""A step beside its limits: by hand, eager, captured, compiled, in NumPyro, by every estimator.

All cases of one size take turns, so that every ratio is of times of the same minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

import torch
from cases import (
    EVENT_SHAPE,
    LEARNING_RATE,
    SMALL_SHAPE,
    Pair,
    captured,
    even_sizes,
    grouped,
    matrix_products,
    observations,
    our_step,
    paper_pair,
    plain_pair,
)
from handwritten import handwritten_step
from pyro.optim import Adam
from results import Row, row
from timing import Turn, at_once, interleaved, ratio

from pyro_mlvae import MLVAE, ConvDecoder, ConvEncoder, GroupedBatch, ProductOfNormals, make_estimator
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators import ESTIMATORS
from pyro_mlvae.likelihoods import BernoulliLikelihood
from pyro_mlvae.training import Captured, Objective
from pyro_mlvae.training.acceleration import in_precision, require_possible

GROUPS = 10
# Observations, and the shape of one: the demo, and MNIST twice.
Size = tuple[int, Sequence[int]]
SIZES: tuple[Size, ...] = ((160, SMALL_SHAPE), (256, EVENT_SHAPE), (1024, EVENT_SHAPE))
# The headline is made from so many fresh instances, as layout of memory moves each by a few percent.
INSTANCES = 3
# Ratios that are asked for, to the hand-written step.
ASKED = {
    160: {"captured": 1.25, "compiled": 0.72},
    256: {"eager": 1.30, "captured": 1.0, "compiled": 0.90},
    1024: {"captured": 0.95, "compiled": 0.87},
}
# To "trace".
ASKED_OF_ESTIMATORS = {"stl": 1.25, "dreg": 1.25, "group-iwae": 1.25, "local": 1.4}
# Of captured steps to the same: how much slower they are without a layer of the library's own.
WITHOUT = ("without LogVarianceNormal", "without JointOptim")
# In bfloat16 and compiled, 1.4 times as fast as eager steps at 1,024 observations.
ASKED_OF_BFLOAT16 = {1024: 1 / 1.4}


def step_rows(
    rounds: int,
    *,
    device: torch.device | str = "cpu",
    sizes: Sequence[Size] = SIZES,
    compiled: bool = True,
    instances: int = INSTANCES,
) -> list[Row]:
    """Whole steps at each size, in 10 groups.

    Args:
        rounds: how often each case is timed.
        device: where.
        sizes: the numbers of observations, and their shapes.
        compiled: whether the compiled cases, NumPyro among them, take part; each takes a while to begin.
        instances: of the steps that have limits.
    """
    return [
        each
        for size in sizes
        for each in _steps_at(size, rounds, torch.device(device), compiled, instances)
    ]


def _steps_at(size: Size, rounds: int, device: torch.device, compiled: bool, instances: int) -> list[Row]:
    count, event_shape = size
    x = observations(count, device, event_shape)
    batch = grouped(x, even_sizes(count, GROUPS))
    pair = partial(paper_pair, event_shape=event_shape, device=device)
    part = f"step, {count:,} x {x[0].numel()}"
    objectives: dict[str, Captured] = {}

    def recorded(name: str, own: Pair, estimator: str = "trace", *, compile: bool = False) -> Turn:
        objectives[name] = captured(make_estimator(estimator), compile=compile)
        return our_step(own, objectives[name])(batch)

    with ExitStack() as stack:
        cases: dict[str, list[Turn]] = {
            "hand-written": [_by_hand(pair(), batch) for _ in range(instances)],
            "eager": [our_step(pair(), Objective())(batch) for _ in range(instances)],
            "captured": [recorded("captured", pair()) for _ in range(instances)],
        }
        if compiled and _possible("compiled", device, "float32", compile=True):
            cases["compiled"] = [recorded("compiled", pair(), compile=True) for _ in range(instances)]
        if compiled and device.type == "cpu" and find_spec("numpyro") is not None:
            cases["NumPyro"] = [_in_numpyro(pair(), batch) for _ in range(instances)]
        cases["matrix products"] = [at_once(matrix_products(pair(), batch.x))]
        # The rest is of images alone.
        if tuple(event_shape) == EVENT_SHAPE:
            for name, compile in (("captured, bf16", False), ("compiled, bf16", True)):
                if (compiled or not compile) and _possible(name, device, "bf16", compile=compile):
                    own = pair()
                    stack.enter_context(in_precision(*own, device=device, precision="bf16"))
                    cases[name] = [recorded(name, own, compile=compile)]
            plain, separate = WITHOUT
            cases[plain] = [recorded(plain, plain_pair(device=device)) for _ in range(instances)]
            adam = {"lr": LEARNING_RATE, "fused": True}
            cases[separate] = [our_step(pair(), captured(), Adam(adam))(batch) for _ in range(instances)]
            for name in ESTIMATORS:
                cases[name] = [recorded(name, pair(), name)]
        times = interleaved(cases, rounds, device=device, label=part)
    for name, objective in objectives.items():
        if objective.note is not None:
            print(f"{part}, {name!r}: {objective.note}", file=sys.stderr)
    rows = []
    for name in cases:
        base, at_most = _asked(name, count)
        more = {}
        if base != "hand-written":
            more["÷ hand-written"] = ratio(times[name], times["hand-written"])
        at = {"observations": count}
        rows.append(row(part, name, times, base, at_most=at_most, at=at, more=more))
    return rows


def _asked(name: str, count: int) -> tuple[str, float | None]:
    """What a case is compared with, and the ratio that is asked for."""
    if name in ESTIMATORS:
        return "trace", ASKED_OF_ESTIMATORS.get(name)
    if name in WITHOUT:
        return "captured", None
    if name.endswith("bf16"):
        return "eager", ASKED_OF_BFLOAT16.get(count) if name.startswith("compiled") else None
    return "hand-written", ASKED.get(count, {}).get(name)


def _by_hand(pair: Pair, batch: GroupedBatch) -> Turn:
    model, guide = pair
    step = handwritten_step(guide.encoder, model.decoder, LEARNING_RATE)
    return at_once(partial(step, batch))


def _in_numpyro(pair: Pair, batch: GroupedBatch) -> Turn:
    from in_numpyro import numpyro_step

    model, guide = pair
    step: Callable[[], float] = numpyro_step(guide.encoder, model.decoder, batch, LEARNING_RATE)
    return at_once(step)


def _possible(name: str, device: torch.device, precision: str, *, compile: bool) -> bool:
    try:
        require_possible(device, precision, compile=compile)
    except InputError as error:
        print(f"{name!r} is left out: {error}", file=sys.stderr)
        return False
    return True


def convolution_rows(rounds: int, *, count: int = 256, groups: int = 16) -> list[Row]:
    """Every estimator with networks of convolutions, against "trace"."""
    batch = grouped(observations(count), even_sizes(count, groups))
    part, at = f"convolutions, {count:,} observations", {"observations": count}
    cases = {n: [our_step(_convolutions(), captured(make_estimator(n)))(batch)] for n in ESTIMATORS}
    times = interleaved(cases, rounds, label=part)
    return [row(part, name, times, "trace", at_most=ASKED_OF_ESTIMATORS.get(name), at=at) for name in cases]


def _convolutions() -> Pair:
    torch.manual_seed(0)
    model = MLVAE(ConvDecoder(EVENT_SHAPE, 10, 10), BernoulliLikelihood(), 10, 10)
    return model, ProductOfNormals(ConvEncoder(EVENT_SHAPE, 10, 10))
