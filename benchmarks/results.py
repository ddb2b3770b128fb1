"""Results: rows of one table, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from timing import Times, ratio

from pyro_mlvae.files import write_atomically


@dataclass(frozen=True)
class Row:
    """One case.

    Attributes:
        part: which part of the benchmark it belongs to.
        case: what was timed.
        ms: milliseconds, the median.
        base: the case that the ratio is to.
        ratio: own time to the base's.
        at_most: the ratio that is asked for, or None where nothing is.
        at: the quantities that the case is at, such as the number of groups.
        more: other numbers that were measured.
    """

    part: str
    case: str
    ms: float
    base: str
    ratio: float
    at_most: float | None = None
    at: Mapping[str, int] = field(default_factory=dict)
    more: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """What is asked, and whether it holds."""
        if self.at_most is None:
            return ""
        return f"≤ {self.at_most:.2f} {'met' if self.ratio <= self.at_most else 'MISSED'}"


def row(part: str, case: str, times: Mapping[str, Times], base: str, **rest: Any) -> Row:
    """The row of ``case``, from the times of all the cases that were timed with it."""
    own = times[case]
    return Row(part, case, float(np.median(own)), base, ratio(own, times[base]), **rest)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table, part by part."""
    for part, members in groupby(rows, key=lambda row: row.part):
        yield ""
        yield f"{part:42}{'ms':>10}  {'ratio':>6}  {'of':24}asked"
        for member in members:
            more = "  ".join(f"{k} {v:,.4g}" for k, v in member.more.items() if v is not None)
            line = f"  {member.case:40}{member.ms:10.2f}  {member.ratio:6.3f}  {member.base:24}"
            yield f"{line}{member.asked:16}{more}".rstrip()


def write_json(path: Path, machine: Mapping[str, Any], rounds: int, rows: Iterable[Row]) -> None:
    """Write the facts of the machine and the rows; the file appears whole or not at all."""
    results = {"machine": dict(machine), "rounds": rounds, "rows": [asdict(row) for row in rows]}
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
