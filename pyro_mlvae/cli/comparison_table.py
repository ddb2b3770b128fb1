"""What a comparison of estimators found, as a table for the terminal and as flat rows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from pyro_mlvae.cli.tables import table, width


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """The rows of elbos.json after training in columns, with what the columns mean."""
    units, reference = comparison["units"], comparison["reference"]
    of = "the exact log evidence" if reference == "exact" else f"{reference}, itself a bound"
    rates = {(c["estimator"], c["num_particles"]): c["learning_rate"] for c in comparison["curves"]}
    rows = [row for row in comparison["rows"] if row["stage"] == "trained"]
    lines = [
        f"{comparison['data']}: {comparison['observations']} observations in {comparison['groups']} "
        f"groups, after {comparison['epochs']} epochs with trace",
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


def flat_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of elbos.json without nesting: ``gradient_snr_decoder`` and the like."""
    flat = []
    for row in comparison["rows"]:
        columns: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, Mapping):
                columns |= {f"{name}_{part}": entry for part, entry in value.items()}
            elif isinstance(value, list):
                columns[name] = " ".join(value)
            else:
                columns[name] = value
        flat.append(columns)
    return flat


def _cells(row: Mapping[str, Any], rate: float | None) -> dict[str, str]:
    """The cells of a row by their headings."""
    biases = [abs(z) for z in row["gradient_bias_z"].values() if z is not None]
    return {
        "estimator": row["estimator"],
        "K": str(row["num_particles"]),
        "value": _fixed(row["value"], 3),
        "+-": _fixed(row["standard_error"], 3),
        "gap": _fixed(row["gap"], 3),
        **{
            heading: _short(value)
            for heading, value in zip(
                ("cont.", "style", "dec."), row["gradient_snr"].values(), strict=True
            )
        },
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
