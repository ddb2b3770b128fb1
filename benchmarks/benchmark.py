"""Every number about speed and memory, as one table: the step against its limits, growth, and feeding.

Run: python benchmarks/benchmark.py [--rounds N] [--only PART ...] [--out DIR]

Whole runs, of about five minutes, write ``results.json`` and ``results.png`` beside this file. With
``--only`` they are written where ``--out`` says so, and the table alone is printed otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from encoding import encoding_rows
from evidence import evidence_rows
from feeding import feeding_rows
from figure import draw_results
from machine import machine_facts
from results import Row, table, write_json
from steps import convolution_rows, step_rows
from sweeps import dim_rows, group_rows, observation_rows, particle_rows
from tqdm import tqdm

ROUNDS = 16


def parts(rounds: int, *, compiled: bool = True) -> dict[str, Callable[[], list[Row]]]:
    """What can be run; the headline has the most rounds, and what is long or steady has fewer."""
    half, few = max(1, rounds // 2), max(1, rounds // 8)
    return {
        "step": partial(step_rows, rounds, compiled=compiled),
        "convolutions": partial(convolution_rows, half),
        "groups": partial(group_rows, half),
        "particles": partial(particle_rows, half),
        "observations": partial(observation_rows, half),
        "dims": partial(dim_rows, half),
        "encoding": partial(encoding_rows, few),
        "evidence": partial(evidence_rows, few),
        "feeding": partial(feeding_rows, few),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for, and write what they found."""
    known = list(parts(1))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the step; the rest has fewer")
    parser.add_argument("--only", nargs="+", choices=known, metavar="PART", help=f"of {', '.join(known)}")
    parser.add_argument("--out", type=Path, help="the folder for results.json and results.png")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled cases out")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    out = options.out or (None if options.only else Path(__file__).parent)
    return run(
        parts(options.rounds, compiled=not options.no_compile), options.only or known, options.rounds, out
    )


def run(
    available: dict[str, Callable[[], list[Row]]], chosen: Sequence[str], rounds: int, out: Path | None
) -> int:
    """Run the chosen parts; print their rows as they come, and write them to ``out``."""
    machine = machine_facts()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()))
    rows: list[Row] = []
    for name in tqdm(chosen, desc="benchmark", unit="part", file=sys.stderr, disable=None):
        found = available[name]()
        rows += found
        with tqdm.external_write_mode(file=sys.stdout):
            print("\n".join(table(found)), flush=True)
    if out is not None:
        write_json(out / "results.json", machine, rounds, rows)
        caption = "{cpu}, {threads} of {cores} cores, torch {torch}, pyro {pyro}".format(**machine)
        draw_results(rows, out / "results.png", caption)
    return 0


if __name__ == "__main__":
    sys.exit(main())
