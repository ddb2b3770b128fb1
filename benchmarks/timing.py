"""Times of cases side by side, on a machine whose speed drifts.

Every round has a turn of every case, in an order of its own: it runs twice, and the second run is
timed. Ratios are formed within a round: what slows the machine down for a while slows both. Where
its memory happens to lie makes a case faster or slower by a few percent for its whole life, so that
a case may have several instances, made apart.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from tqdm import tqdm

# Prepares for an action, gives it, and clears up: of these two, no time is taken.
Turn = Callable[[], AbstractContextManager[Callable[[], object]]]
# Milliseconds, one row a round and one column an instance.
Times = np.ndarray
WARM_UP = 2


def interleaved(
    cases: Mapping[str, Sequence[Turn]], rounds: int, *, label: str = ""
) -> dict[str, Times]:
    """The times of every instance of every case, after rounds that warm up."""
    times = {name: np.empty((rounds, len(instances))) for name, instances in cases.items()}
    turns = [(name, i) for name, instances in cases.items() for i in range(len(instances))]
    order = random.Random(0)
    for number in tqdm(
        range(-WARM_UP, rounds), desc=label, unit="round", leave=False, disable=None
    ):
        for name, i in order.sample(turns, len(turns)):
            with cases[name][i]() as action:
                # As in training, where a step follows another of its kind, whose code and data are
                # at hand.
                action()
                synchronise()
                started = time.perf_counter()
                action()
                synchronise()
                if number >= 0:
                    times[name][number, i] = 1e3 * (time.perf_counter() - started)
    return times


def synchronise() -> None:
    """Wait for the work of a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ratio(own: Times, base: Times) -> float:
    """The median over rounds of own time to base time, of each the median over its instances."""
    return float(np.median(np.median(own, 1) / np.median(base, 1)))


def row(
    part: str,
    case: str,
    times: Mapping[str, Times],
    base: str,
    at_most: float | None = None,
    mb: str = "",
) -> list[str]:
    """The cells of a case: its median, its ratio to ``base``, and whether that is as asked."""
    found = ratio(times[case], times[base])
    asked = "" if at_most is None else f"≤ {at_most:.2f} {'met' if found <= at_most else 'MISSED'}"
    return [part, case, f"{np.median(times[case]):.2f}", f"{found:.2f}", base, asked, mb]
