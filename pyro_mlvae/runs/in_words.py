"""What a run was made from, in words and as a command line: for its report."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from pyro_mlvae.data.scaling import KINDS
from pyro_mlvae.likelihoods import NormalLikelihood
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.pairs import AUTO, MODELS, choose_guide

_SCALED = ("x as it is", "every feature of x standardised", "the range of x mapped to [0, 1]")


def pair_in_words(config: RunConfig) -> str:
    """The model, its guide and the likelihood of a config.

    >>> pair_in_words(RunConfig(style_given_content=True, likelihood="normal"))
    'mlvae, guide product-of-normals, style sees content, likelihood normal of scale 0.2'
    """
    guide = "as the model's base class has it"
    # "auto" is of a run of before its name was recorded; to know it of an own model would run its
    # code.
    if config.guide != AUTO or config.model in MODELS:
        guide = choose_guide(config.guide, config.model)
    style = ", style sees content" if config.style_given_content else ""
    scale = NormalLikelihood().scale if config.likelihood_scale is None else config.likelihood_scale
    of_scale = f" of scale {scale:g}" if config.likelihood == "normal" else ""
    return f"{config.model}, guide {guide}{style}, likelihood {config.likelihood}{of_scale}"


def scaling_in_words(kind: str, *, uint8: bool = False) -> str:
    """What the networks see of x, by the kind of :class:`~pyro_mlvae.data.scaling.Scaling`.

    >>> scaling_in_words("none", uint8=True)
    'x as it is, uint8 divided by 255'
    """
    return _SCALED[KINDS.index(kind)] + (", uint8 divided by 255" if uint8 else "")


def command_line(folder: Path, config: RunConfig) -> str:
    """The command line that makes the run, with the options that are not as by default.

    >>> command_line(Path("runs/digits"), RunConfig(epochs=5, vae=False))
    'pyro-mlvae train --data digits --out runs/digits --epochs 5 --no-vae'
    """
    command = ["pyro-mlvae", "train", "--data", config.data, "--out", str(folder)]
    for field in fields(RunConfig):
        value, option = getattr(config, field.name), field.name.replace("_", "-")
        if field.name != "data" and value != field.default:
            given = value if isinstance(value, tuple) else [value] * (not isinstance(value, bool))
            command += [f"--no-{option}" if value is False else f"--{option}", *map(str, given)]
    if config.hold_out_groups or config.hold_out_fraction:
        command += ["--preset", "none"]  # or images would have settings for unseen groups
    return shlex.join(command)
