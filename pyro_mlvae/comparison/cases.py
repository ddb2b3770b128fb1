"""What is compared: estimators with numbers of particles, and what each is checked against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from torch import nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.estimators.miwae import most_square
from pyro_mlvae.estimators.names import HAVE_ORDER

# Another estimator of the same objective, whose mean gradient an estimator's is checked against;
# those that have none are their own reference, and are not checked.
_ANOTHER = {
    "trace": "mean-field",
    "graph": "mean-field",
    "stl": "mean-field",
    "mean-field": "trace",
    "local": "trace",
    "group-iwae": "dreg",
    "dreg": "group-iwae",
}
# Those that estimate the ELBO itself whatever the number of particles.
UNWEIGHTED = ("trace", "mean-field", "graph", "stl", "local")
# Those that are "trace" with one particle: the logarithm of a mean of one.
_TRACE_OF_ONE = ("group-iwae", "group-renyi", "renyi", "miwae", "piwae", "ciwae")


@dataclass(frozen=True)
class Case:
    """An estimator with a number of particles, and its order if it has one and it is given."""

    name: str
    num_particles: int
    alpha: float | None = None

    def make(self) -> ELBO:
        """The estimator."""
        return make_estimator(self.name, self.num_particles, alpha=self.alpha)

    @property
    def same(self) -> Case:
        """The case that this one equals draw by draw, by construction: itself, or a simpler one."""
        count = self.num_particles
        if self.name == "graph" or (self.name in _TRACE_OF_ONE and count == 1):
            return Case("trace", count)  # every site of ours is reparameterised
        if self.name == "dreg" and count == 1:
            return Case("stl", 1)
        if self.name in ("miwae", "piwae") and most_square(count) == 1:
            return Case("group-iwae", count)
        return self

    def __str__(self) -> str:
        return f"{self.name}, {self.num_particles} particle{'s' if self.num_particles > 1 else ''}"


def check_cases(
    estimators: Sequence[str], particles: Sequence[int], alpha: float | None
) -> list[Case]:
    """Every estimator with every number of particles, in that order, each once.

    Raises:
        InputError: an estimator is not known, a number of particles is not positive, none is given,
            or alpha is out of range or given to no estimator that has an order.
    """
    names, counts = list(dict.fromkeys(estimators)), list(dict.fromkeys(particles))
    if not names or not counts:
        raise InputError("estimators and particles must name at least one each, got none")
    for count in counts:
        require_positive(particles=count)
    if alpha is not None and not set(names) & set(HAVE_ORDER):
        raise InputError(
            f"alpha is the order of {' and '.join(HAVE_ORDER)}, but neither is compared: leave it "
            "out"
        )
    cases = [
        Case(name, count, alpha if name in HAVE_ORDER else None)
        for name in names
        for count in counts
    ]
    for case in cases:
        case.make()
    return cases


def runnable(
    cases: Sequence[Case], model: nn.Module, guide: nn.Module, batch: GroupedBatch
) -> tuple[list[Case], list[dict[str, Any]]]:
    """The cases that take this pair; of each other one its ``estimator`` and ``why`` it does not.

    Raises:
        InputError: none of them does.
    """
    kept: list[Case] = []
    refused: dict[str, str] = {}
    devices = [batch.x.device] if batch.x.device.type == "cuda" else []
    for case in cases:
        with torch.random.fork_rng(devices), pyro.get_param_store().scope():
            try:
                case.make().loss(model, guide, batch)  # type: ignore[attr-defined]
            except InputError as error:
                refused[case.name] = str(error)
            else:
                kept.append(case)
    if not kept:
        raise InputError(f"none of the estimators takes this pair: {next(iter(refused.values()))}")
    return kept, [{"estimator": name, "why": why} for name, why in refused.items()]


def merged(cases: Sequence[Case]) -> dict[Case, list[str]]:
    """The cases that differ, each with the names of those that equal it by construction.

    >>> merged([Case("trace", 1), Case("group-iwae", 1), Case("group-iwae", 10)])[Case("trace", 1)]
    ['group-iwae']
    """
    first: dict[Case, Case] = {}
    also: dict[Case, list[str]] = {}
    for case in cases:
        kept = first.setdefault(case.same, case)
        if kept is case:
            also[case] = []
        else:
            also[kept].append(case.name)
    return also


def reference_case(case: Case, *, exact: bool) -> Case | None:
    """The case whose mean gradient, with independent draws, is that of this one's objective.

    Args:
        case: the case to be checked.
        exact: whether the ELBO's gradient is known exactly: then None stands for it.
    """
    same = case.same
    # The ELBO's gradient does not depend on the number of particles.
    if same.name in UNWEIGHTED:
        return None if exact else Case(_ANOTHER[same.name], 1)
    return Case(_ANOTHER.get(same.name, same.name), case.num_particles, case.alpha)
