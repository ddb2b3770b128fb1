"""Times of cases side by side, on a machine whose speed drifts.

Every round has a turn of every case, in an order of its own: it runs twice, and the second run is timed.
Ratios are formed within a round: what slows the machine down for a while slows both. Where its memory
happens to lie makes a case faster or slower by a few percent for its whole life, so that a case may have
several instances, made apart.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from tqdm import tqdm

Action = Callable[[], object]
# Prepares for an action, gives it, and clears up: of these two, no time is taken.
Turn = Callable[[], AbstractContextManager[Action]]
# Milliseconds, one row a round and one column an instance.
Times = np.ndarray

WARM_UP = 2


def interleaved(
    cases: Mapping[str, Sequence[Turn]],
    rounds: int,
    *,
    device: torch.device | str = "cpu",
    label: str = "",
    warm_up: int = WARM_UP,
) -> dict[str, Times]:
    """The times of every instance of every case, in milliseconds.

    Args:
        cases: the instances of each case.
        rounds: how often each is timed.
        device: on a GPU, the work is waited for.
        label: of the progress bar.
        warm_up: rounds before, which pay for what is only done once: compiling, the optimiser's state.
    """
    times = {name: np.empty((rounds, len(instances))) for name, instances in cases.items()}
    turns = [(name, i) for name, instances in cases.items() for i in range(len(instances))]
    order = random.Random(0)
    for number in tqdm(range(-warm_up, rounds), desc=label, unit="round", leave=False, disable=None):
        for name, i in order.sample(turns, len(turns)):
            with cases[name][i]() as action:
                # As in training, where a step follows another of its kind, whose code and data are at hand.
                action()
                took = milliseconds(action, torch.device(device))
            if number >= 0:
                times[name][number, i] = took
    return times


def at_once(action: Action) -> Turn:
    """The turn of an action that needs no preparing."""
    return partial(nullcontext, action)


def milliseconds(action: Action, device: torch.device) -> float:
    """How long one call takes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - started)


def ratio(own: Times, base: Times) -> float:
    """The median over rounds of own time to base time, of each the median over its instances."""
    return float(np.median(np.median(own, 1) / np.median(base, 1)))
