"""The command line that makes a run again."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from pyro_mlvae.runs.config import RunConfig


def command_line(folder: Path, config: RunConfig) -> str:
    """The command line that makes the run, with the options that are not as by default.

    >>> command_line(Path("runs/digits"), RunConfig(epochs=5, vae=False))
    'pyro-mlvae train --data digits --out runs/digits --epochs 5 --no-vae'
    """
    command = ["pyro-mlvae", "train", "--data", config.data, "--out", str(folder)]
    for field in fields(RunConfig):
        value, option = getattr(config, field.name), field.name.replace("_", "-")
        if field.name != "data" and value != field.default:
            given = (
                value if isinstance(value, tuple) else () if isinstance(value, bool) else (value,)
            )
            command += [f"--no-{option}" if value is False else f"--{option}", *map(str, given)]
    return shlex.join(command)
