"""The penalties that the options of the objective ask for."""

from __future__ import annotations

from pyro_mlvae.errors import InputError
from pyro_mlvae.penalties import (
    HSIC,
    AggregateStyle,
    PairSwitching,
    Penalty,
    StyleCycle,
    TargetKL,
    WeightedKL,
)
from pyro_mlvae.runs.options import ObjectiveOptions

PENALTY_OPTIONS = (
    *("beta_content", "beta_style", "warmup_steps", "free_bits_content", "free_bits_style"),
    *("target_content", "target_style", "target_weight"),
    *("aggregate_style", "hsic", "style_cycle", "pair_switching"),
)


def make_penalties(options: ObjectiveOptions) -> list[Penalty]:
    """What is taken off the objective in training: nothing, unless it is asked for.

    Raises:
        InputError: a weight is out of range, or a divergence has a target and a weight of its own.

    >>> make_penalties(ObjectiveOptions(hsic=100.0))
    [HSIC(weight=100.0, bandwidths=(0.03, 0.12, 0.5))]
    """
    found: list[Penalty] = []
    for site, beta, free_bits, target in (
        ("content", options.beta_content, options.free_bits_content, options.target_content),
        ("style", options.beta_style, options.free_bits_style, options.target_style),
    ):
        weighted_kl = WeightedKL(site, beta, options.warmup_steps, free_bits)
        if target is not None:
            if (beta, free_bits) != (1.0, 0.0):
                raise InputError(
                    f"target_{site} takes the place of beta_{site} and free_bits_{site}, got both: "
                    f"leave one out"
                )
            found.append(TargetKL(site, target, options.target_weight, options.warmup_steps))
        elif weighted_kl != WeightedKL(site):
            found.append(weighted_kl)
    weighted = (
        AggregateStyle(options.aggregate_style),
        HSIC(options.hsic),
        StyleCycle(options.style_cycle),
        PairSwitching(options.pair_switching),
    )
    return found + [penalty for penalty in weighted if penalty.weight]
