"""Entry point: which command, and what becomes of its errors.

Results go to stdout, progress and errors to stderr. Exit status: 0; 2 for what the user can correct,
with one sentence as the last line on stderr; 1 for a bug, with a traceback; 130 when interrupted.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from pyro_mlvae.cli.compare_elbos import CompareElbos
from pyro_mlvae.cli.datasets import Datasets
from pyro_mlvae.cli.embed import Embed
from pyro_mlvae.cli.evaluate import Evaluate
from pyro_mlvae.cli.operate import Generate, Interpolate, Swap, Traverse
from pyro_mlvae.cli.train import Train
from pyro_mlvae.errors import InputError, is_out_of_memory, printable

PROGRAM = "pyro-mlvae"
DESCRIPTION = "The Multi-Level VAE: learn what the observations of a group share, and what each adds."

# One member a command; a command is a dataclass of its options with a method run().
Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[CompareElbos, tyro.conf.subcommand("compare-elbos")]
    | Annotated[Swap, tyro.conf.subcommand("swap")]
    | Annotated[Interpolate, tyro.conf.subcommand("interpolate")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Traverse, tyro.conf.subcommand("traverse")]
    | Annotated[Embed, tyro.conf.subcommand("embed")]
    | Annotated[Datasets, tyro.conf.subcommand("datasets")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    try:
        command = parse(arguments)
        # Not before it is known that there is something to do: this imports torch.
        from pyro_mlvae.cli.job import processes

        if processes() > 1 and not isinstance(command, Train):
            raise InputError("torchrun is for train alone: run this command by itself")
        status: int = command.run()
    except InputError as error:
        # A PairError holds several, one for each thing that is wrong with a pair.
        for sentence in getattr(error, "faults", [str(error)]):
            print(f"{PROGRAM}: {printable(sentence)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print(
            f"{PROGRAM}: there is not enough memory: choose fewer particles, smaller minibatches or "
            f"networks, or give x as npy:DIR",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return status


def parse(arguments: Sequence[str]) -> Any:
    """The command and its options.

    Where a command has defaults that depend on its options, as those of a resumed run, the arguments are
    read a second time, upon these.

    Raises:
        InputError: the arguments are not understood. What tyro has to say of them in its own
            layout, with the nearest options, is printed before.
        SystemExit: help was asked for.
    """
    command = _read(arguments)
    defaults = command.defaults() if isinstance(command, Train) else None
    return command if defaults is None else _read(arguments, default=defaults)


def _read(arguments: Sequence[str], **options: Any) -> Any:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                Command,
                prog=PROGRAM,
                description=DESCRIPTION,
                args=list(arguments),
                config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes),
                **options,
            )
    except SystemExit as exit_:
        if not exit_.code:
            raise
        print(said.getvalue(), file=sys.stderr, end="")
        raise InputError(_first_sentence(said.getvalue())) from None


def _first_sentence(box: str) -> str:
    """The first paragraph in tyro's framed message, as one line."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        inside = line.strip("│ ╰╯─")
        # A rule, of hyphens where the terminal has nothing better, or nothing.
        if not inside.strip("-"):
            if words:
                break
            continue
        words.append(inside)
    return f"{' '.join(words).rstrip('.')}; see {PROGRAM} --help"
