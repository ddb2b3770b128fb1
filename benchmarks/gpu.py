"""The table of steps on a GPU: by hand, eager, captured, compiled, bfloat16, every estimator.

Run: python benchmarks/gpu.py [--rounds N] [--no-compile]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from machine import machine_facts
from results import table
from steps import step_rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or that there is no GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled cases out")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("PyTorch finds no GPU here: run this where it does.", file=sys.stderr)
        return 2
    print("\n".join(f"{name}: {value}" for name, value in machine_facts("cuda").items()))
    rows = step_rows(options.rounds, device="cuda", compiled=not options.no_compile)
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
