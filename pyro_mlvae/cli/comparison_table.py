"""What a comparison of estimators found, as a table for the terminal and as flat rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEADINGS = ("content", "style", "decoder")


def comparison_table(comparison: Mapping[str, Any]) -> str:
    """The rows of elbos.json in columns, one table for each stage, with what the columns mean."""
    units, reference = comparison["units"], comparison["reference"]
    of = "the exact log evidence" if reference == "exact" else f"{reference}, itself a bound"
    head = (
        f"{'':12}{'':>4}{'value':>10}{'+-':>8}{'gap':>9} |{'gradient: signal / noise':^27}|"
        f"{'z of its bias':^21}|{'':>6}{'':>8}{'':>8}"
    )
    names = "".join(f"{name:>9}" for name in HEADINGS)
    short = "".join(f"{name:>7}" for name in ("cont.", "style", "dec."))
    columns = (
        f"{'estimator':12}{'K':>4}{'':>10}{'':>8}{'':>9} |{names}|{short}|{'ESS':>6}{'ms':>8}{'MB':>8}"
    )
    lines = [
        f"{comparison['data']}: {comparison['observations']} observations in {comparison['groups']} groups",
        f"value, its standard error and gap in {units} per observation; the gap is to {of}",
    ]
    titles = {"initial": "Before training", "trained": f"After {comparison['epochs']} epochs with trace"}
    for stage, title in titles.items():
        lines += ["", title, head.rstrip(), columns]
        lines += [_line(row) for row in comparison["rows"] if row["stage"] == stage]
    return "\n".join(lines)


def flat_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of elbos.json without nesting: ``gradient_snr_decoder`` and the like."""
    flat = []
    for row in comparison["rows"]:
        columns: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, Mapping):
                columns |= {f"{name}_{part}": entry for part, entry in value.items()}
            else:
                columns[name] = value
        flat.append(columns)
    return flat


def _line(row: Mapping[str, Any]) -> str:
    signal = "".join(_cell(value, 9, 3) for value in row["gradient_snr"].values())
    bias = "".join(_cell(value, 7, 1, fixed=True) for value in row["gradient_bias_z"].values())
    return (
        f"{row['estimator']:12}{row['num_particles']:4}{_cell(row['value'], 10, 3, fixed=True)}"
        f"{_cell(row['standard_error'], 8, 3, fixed=True)}{_cell(row['gap'], 9, 3, fixed=True)} |{signal}"
        f"|{bias}|{_cell(row['effective_sample_size'], 6, 1, fixed=True)}"
        f"{_cell(row['ms_per_step'], 8, 2, fixed=True)}{_cell(row['peak_mb'], 8, 1, fixed=True)}"
    )


def _cell(value: float | None, width: int, digits: int, *, fixed: bool = False) -> str:
    if value is None:
        return f"{'-':>{width}}"
    # "-0.000" says nothing that "0.000" does not.
    return f"{round(value, digits) + 0.0:{width}.{digits}f}" if fixed else f"{value:{width}.{digits}g}"
