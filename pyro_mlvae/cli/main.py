"""Entry point: which command, and what becomes of its errors.

Results go to stdout, progress and errors to stderr. Exit status: 0; 2 for what the user can
correct, with one sentence as the last line on stderr; 1 for a bug, with a traceback; 130 when
interrupted.
"""

from __future__ import annotations

import codecs
import io
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from difflib import get_close_matches
from itertools import groupby
from typing import Annotated, Any, get_args

import tyro

from pyro_mlvae import __version__
from pyro_mlvae.cli.compare_elbos import CompareElbos
from pyro_mlvae.cli.datasets import Datasets
from pyro_mlvae.cli.embed import Embed
from pyro_mlvae.cli.explore import Explore
from pyro_mlvae.cli.operate import Evaluate, Generate, Interpolate, Swap, Traverse
from pyro_mlvae.cli.streams import lenient_streams
from pyro_mlvae.cli.train import Train
from pyro_mlvae.errors import InputError, is_out_of_memory, printable

PROGRAM = "pyro-mlvae"
DESCRIPTION = (
    "The Multi-Level VAE: learn what the observations of a group share, and what each adds. "
    "--version says which version this is."
)

# One member a command; a command is a dataclass of its options with a method run().
Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[CompareElbos, tyro.conf.subcommand("compare-elbos")]
    | Annotated[Swap, tyro.conf.subcommand("swap")]
    | Annotated[Interpolate, tyro.conf.subcommand("interpolate")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[Traverse, tyro.conf.subcommand("traverse")]
    | Annotated[Explore, tyro.conf.subcommand("explore")]
    | Annotated[Embed, tyro.conf.subcommand("embed")]
    | Annotated[Datasets, tyro.conf.subcommand("datasets")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    with lenient_streams():
        if list(arguments) == ["--version"]:
            print(f"{PROGRAM} {__version__}")
            return 0
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
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
            f"{PROGRAM}: there is not enough memory: choose fewer particles, smaller minibatches "
            f"or networks, or give x as npy:DIR",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    return status


def parse(arguments: Sequence[str]) -> Any:
    """The command and its options.

    Where a command has defaults that depend on its options, as those of a resumed run, the
    arguments are read a second time, upon these.

    Raises:
        InputError: the arguments are not understood.
        SystemExit: help was asked for.
    """
    command = _read(arguments)
    defaults = command.defaults() if isinstance(command, Train) else None
    return command if defaults is None else _read(arguments, default=defaults)


def _read(arguments: Sequence[str], **options: Any) -> Any:
    # tyro draws the frames that the encoding of stdout has, which it knows by this name.
    encoding = codecs.lookup(sys.stdout.encoding or "utf-8").name
    said, shown = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding, errors="replace")
    try:
        with redirect_stderr(said), redirect_stdout(shown):
            return tyro.cli(
                Command,
                prog=PROGRAM,
                description=DESCRIPTION,
                args=list(arguments),
                # What is not given is None; there is no need to say so.
                config=(
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.DisallowNone,
                ),
                **options,
            )
    except SystemExit as exit_:
        if not exit_.code:
            shown.seek(0)
            print(_wrapped(shown.read()))
            raise
        raise InputError(_sentence(said.getvalue(), arguments)) from None


def _wrapped(text: str) -> str:
    """Help as tyro writes it, with what stands outside of frames wrapped as well."""
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ") if len(line) > width else line
        for line in text.rstrip("\n").split("\n")
    )


def _sentence(box: str, arguments: Sequence[str]) -> str:
    """What tyro says in a frame, as one sentence with the nearest option or command."""
    # Between paragraphs is a rule, of hyphens where the terminal has nothing better, or an empty
    # line.
    lines = [line.strip("│| ╰╯─").strip() for line in box.splitlines()[1:]]
    paragraphs = [
        [*group] for rule, group in groupby(lines, lambda line: not line.strip("-+")) if not rule
    ]
    sentence = " ".join(paragraphs[0]).rstrip(".")
    command = [name for name in arguments[:1] if name in names()]
    near: Sequence[str] = ()
    if arguments and not command:
        near = get_close_matches(arguments[0], names(), n=1)
    elif sentence.startswith("Unrecognized"):
        near = [
            line.split()[0].rstrip(",")
            for each in paragraphs
            for line in each
            if line.startswith("--")
        ]
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{sentence}{hint}; see {' '.join([PROGRAM, *command, '--help'])}"


def names() -> list[str]:
    """The names of the commands."""
    return [command.__metadata__[0].name for command in get_args(Command)]
