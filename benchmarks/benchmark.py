"""Two tables about speed and memory: a step beside its limits and peers, and how cost grows.

Run: python benchmarks/benchmark.py [--only steps|scaling] [--rounds N] [--device cuda]
[--no-compile]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import pyro
import torch
from scaling import scaling_rows
from steps import step_rows

from pyro_mlvae.cli.tables import table

ROUNDS = 16
HEADINGS = ("", "", "ms", "ratio", "to", "asked", "MB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for and print it; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=("steps", "scaling"))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each case is timed")
    parser.add_argument("--device", default="cpu", help="of the steps: cpu or cuda")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out what takes a while to begin"
    )
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("PyTorch finds no GPU here: run this where it does.", file=sys.stderr)
        return 2
    print(
        f"{torch.get_num_threads()} threads on {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, pyro {pyro.__version__}"
    )
    if options.only != "scaling":
        show(step_rows(options.rounds, device=options.device, compiled=not options.no_compile))
    if options.only != "steps":
        show(scaling_rows(max(1, options.rounds // 4)))
    return 0


def show(rows: Sequence[Sequence[str]]) -> None:
    """Print one of the tables."""
    print(f"\n{table(HEADINGS, rows, text=(0, 1, 4, 5))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
