"""Try the library on command lines and files that are wrong in every way; status 1 if a promise breaks.

python fuzz/fuzz.py --commands 10000 --whole-commands 30 --files 10000 --seed 0
python fuzz/fuzz.py --only files 1234 --seed 0
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trial
from command_lines import Commands, WholeCommands
from hostile_files import Files

KINDS = {kind.name: kind for kind in (Commands, WholeCommands, Files)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials, print what came of them, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in KINDS:
        parser.add_argument(f"--{name.replace(' ', '-')}", type=int, default=0, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"), help="one case, to see it again")
    options = parser.parse_args(arguments)
    failed = False
    for name in KINDS:
        cases: Sequence[int] = range(getattr(options, name.replace(" ", "_")))
        if options.only:
            cases = [int(options.only[1])] if options.only[0] == name else []
        if cases:
            with tempfile.TemporaryDirectory() as folder:
                summary = trial.run(KINDS[name](Path(folder).resolve()), cases, options.seed)
            _print(name, summary, options.seed)
            failed |= bool(summary.found)
    return int(failed)


def _print(name: str, summary: trial.Summary, seed: int) -> None:
    count = summary.outcomes.total()
    slowest, number = summary.slowest
    print(f"{count:,} {name} in {summary.seconds:.0f} s, the slowest, number {number}, in {slowest:.1f} s")
    for outcome, times in summary.outcomes.most_common():
        print(f"  {times:7,} {outcome}")
    for signature, found in sorted(summary.found.items(), key=lambda item: -item[1].count):
        print(f"\n{found.count} times {signature}\n{found.text}")
        print("smallest case:", *(repr(part)[:300] for part in found.parts))
        print(f'python fuzz/fuzz.py --only "{name}" {found.index} --seed {seed}')


if __name__ == "__main__":
    sys.exit(main())
