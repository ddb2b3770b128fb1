"""What to take, said from a comparison: one paragraph for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_mlvae.cli.tables import width
from pyro_mlvae.comparison.cases import UNWEIGHTED

# Above it, means of importance weights are not to be trusted.
_HEAVY = 0.7


def advice(comparison: Mapping[str, Any]) -> str:
    """What to train with, what to measure with, and how far to trust it: what these rows and curves say.

    Intervals that overlap are called a tie.
    """
    rows = [row for row in comparison["rows"] if row["stage"] == "trained"]
    said = [
        _for_training(comparison),
        _for_values(rows),
        _trust(rows),
        _between(comparison["sandwich"]),
    ]
    refused = [entry["estimator"] for entry in comparison["refused"]]
    if refused:
        said.append(f"Left out, for they do not take this model and guide: {', '.join(refused)}.")
    return textwrap.fill(" ".join(sentence for sentence in said if sentence), width())


def _for_training(comparison: Mapping[str, Any]) -> str:
    ends = [
        (curve["elbo"][-1], curve["elbo_interval"][-1] or 0.0, curve)
        for curve in comparison["curves"]
        if curve["elbo"]
        and curve["elbo"][-1] is not None
        and len(curve["elbo"]) == _longest(comparison)
    ]
    if not ends:
        return ""
    best, width, curve = max(ends, key=lambda end: end[0])
    tied = [
        _name(other)
        for elbo, own, other in ends
        if other is not curve and best - elbo <= width + own
    ]
    sentence = (
        f"To train on the ELBO for {curve['seconds'][-1]:.2g} s take {_name(curve)} at learning rate "
        f"{curve['learning_rate']:g}: its held-out ELBO is highest, {best:.2f} +- {width:.2f} "
        f"{comparison['units']} per observation over {curve['seeds']} seeds"
    )
    if not tied:
        return f"{sentence}, and no other's interval overlaps."
    few = ", ".join(tied[:4]) + (f" and {len(tied) - 4} others" if len(tied) > 4 else "")
    return f"{sentence}; within the intervals of {few}, which are no worse as far as this can tell."


def _for_values(rows: Sequence[Mapping[str, Any]]) -> str:
    known = [row for row in rows if row["gap"] is not None]
    if not known:
        return ""
    tight = min(known, key=lambda row: row["gap"])
    return (
        f"To report a value take nested_bound; of these the tightest is {_name(tight)}, "
        f"{tight['gap']:.3f} below the reference."
    )


def _trust(rows: Sequence[Mapping[str, Any]]) -> str:
    tails = [
        row["k_hat"] for row in rows if row["k_hat"] is not None and row["estimator"] != "renyi"
    ]
    if not tails:
        return ""
    k = tails[0]
    if k > _HEAVY:
        steady = ", ".join(
            name for name in UNWEIGHTED if name in {row["estimator"] for row in rows}
        )
        return (
            f"The weights of a group have a k-hat of {k:.2f}, above {_HEAVY}: their means, and gradients "
            f"made of them, rest on few draws ({steady or 'trace'} weigh nothing)."
        )
    return f"The weights of a group have a k-hat of {k:.2f}, at most {_HEAVY}: their means can be trusted."


def _between(sandwich: Sequence[Mapping[str, Any]]) -> str:
    if not sandwich:
        return ""
    last = max(sandwich, key=lambda row: row["num_particles"])
    return (
        f"On data of the model's own its evidence lies between {last['lower']:.2f} and {last['upper']:.2f} "
        f"per observation (K = {last['num_particles']})."
    )


def _longest(comparison: Mapping[str, Any]) -> int:
    return max(len(curve["steps"]) for curve in comparison["curves"])


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['estimator']} (K = {row['num_particles']})"
