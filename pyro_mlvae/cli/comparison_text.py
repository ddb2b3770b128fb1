"""What a comparison of estimators found, for the terminal: a table, and what to take."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_mlvae.cli.tables import table, width
from pyro_mlvae.comparison.cases import UNWEIGHTED

# Above it, means of importance weights are not to be trusted.
_HEAVY = 0.7


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """The rows of elbos.json after training in columns, with what the columns mean."""
    units, reference = comparison["units"], comparison["reference"]
    of = "the exact log evidence" if reference == "exact" else f"{reference}, itself a bound"
    rates = {(c["estimator"], c["num_particles"]): c["learning_rate"] for c in comparison["curves"]}
    rows = [row for row in comparison["rows"] if row["stage"] == "trained"]
    lines = [
        f"{comparison['data']}: {comparison['observations']} observations in "
        f"{comparison['groups']} groups, after {comparison['epochs']} epochs with trace",
        f"value and gap: {units} per observation; the gap is to {of}",
        "cont., style, dec.: signal / noise of one gradient; |z|: largest bias in standard errors",
        "pass: network passes a step for each observation; rate: best learning rate of its own",
        "",
    ]
    cells = [_cells(row, rates.get((row["estimator"], row["num_particles"]))) for row in rows]
    if cells:
        lines.append(table([*cells[0]], [[*row.values()] for row in cells], gap=1))
    shared = [row for row in rows if row["also"]]
    if shared:
        lines.append("")
    for row in shared:
        names = ", ".join(row["also"])
        said = f"{row['estimator']} at K = {row['num_particles']} stands for {names} as well"
        lines += textwrap.wrap(said, width())
    return "\n".join(lines)


def _cells(row: Mapping[str, Any], rate: float | None) -> dict[str, str]:
    """The cells of a row by their headings."""
    biases = [abs(z) for z in row["gradient_bias_z"].values() if z is not None]
    return {
        "estimator": row["estimator"],
        "K": str(row["num_particles"]),
        "value": _fixed(row["value"], 3),
        "+-": _fixed(row["standard_error"], 3),
        "gap": _fixed(row["gap"], 3),
        **dict(
            zip(("cont.", "style", "dec."), map(_short, row["gradient_snr"].values()), strict=True)
        ),
        "|z|": _fixed(max(biases, default=None), 1),
        "ESS": _fixed(row["effective_sample_size"], 1),
        "k-hat": _fixed(row["k_hat"], 2),
        "pass": _short(row["passes_per_step"]),
        "ms": _fixed(row["ms_per_step"], 1),
        "MB": _short(row["peak_mb"]),
        "rate": _short(rate),
    }


def _fixed(value: float | None, digits: int) -> str:
    # "-0.000" says nothing that "0.000" does not.
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def advice(comparison: Mapping[str, Any]) -> str:
    """What to train with, what to measure with, and how far these rows and curves can be trusted.

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
    longest = max((len(curve["steps"]) for curve in comparison["curves"]), default=0)
    ends = [
        (curve["elbo"][-1], curve["elbo_interval"][-1] or 0.0, curve)
        for curve in comparison["curves"]
        if len(curve["elbo"]) == longest > 0 and curve["elbo"][-1] is not None
    ]
    if not ends:
        return ""
    best, width, curve = max(ends, key=lambda end: end[0])
    tied = [_name(c) for elbo, own, c in ends if c is not curve and best - elbo <= width + own]
    sentence = (
        f"To train on the ELBO for {curve['seconds'][-1]:.2g} s take {_name(curve)} at learning "
        f"rate {curve['learning_rate']:g}: its held-out ELBO is highest, {best:.2f} +- {width:.2f} "
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
    weighted = [row for row in rows if row["estimator"] != "renyi"]
    tails = [row["k_hat"] for row in weighted if row["k_hat"] is not None]
    if not tails:
        return ""
    k = tails[0]
    if k > _HEAVY:
        measured = {row["estimator"] for row in rows}
        steady = ", ".join(name for name in UNWEIGHTED if name in measured)
        return (
            f"The weights of a group have a k-hat of {k:.2f}, above {_HEAVY}: their means, and "
            f"gradients made of them, rest on few draws ({steady or 'trace'} weigh nothing)."
        )
    trusted = "their means can be trusted"
    return f"The weights of a group have a k-hat of {k:.2f}, at most {_HEAVY}: {trusted}."


def _between(sandwich: Sequence[Mapping[str, Any]]) -> str:
    if not sandwich:
        return ""
    last = max(sandwich, key=lambda row: row["num_particles"])
    return (
        f"On data of the model's own its evidence lies between {last['lower']:.2f} and "
        f"{last['upper']:.2f} per observation (K = {last['num_particles']})."
    )


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['estimator']} (K = {row['num_particles']})"
