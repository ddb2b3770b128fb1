"""config.json: everything that rebuilds a run, and what is known of the data it was trained on.

Version 2 says which groups training saw and the range of x; a run of version 1 says neither, and
still opens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pyro_mlvae.errors import InputError, printable, require_positive
from pyro_mlvae.files import find_path, write_atomically
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.custom import custom_file, is_custom

FORMAT_VERSION = 2
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# Copies of the user's own files that the run is made from.
CODE = "code"
DATA_KEYS = ("event_shape", "trained_groups", "value_range")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON, whole or not at all; NaN and infinities are refused, not written."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def save_config(
    path: Path,
    config: RunConfig,
    event_shape: Sequence[int],
    *,
    trained_groups: Sequence[str] = (),
    value_range: tuple[float, float] | None = None,
) -> None:
    """Write config.json: everything that is needed to rebuild the run, a user's own classes included.

    A file of the user's is copied into the run's folder, and named there: the run goes on meaning the
    same when that file is changed, or the folder moved.

    Args:
        path: the run folder.
        config: what the run is made from.
        event_shape: the shape of one observation.
        trained_groups: the names of the groups that training sees, as text.
        value_range: the smallest and the largest value of x in training.
    """
    settings = asdict(config)
    for kind in ("model", "guide"):
        file = custom_file(settings[kind]) if is_custom(settings[kind]) else None
        if file is not None:
            copy = path / CODE / f"{kind}.py"
            with write_atomically(copy) as temporary:
                temporary.write_bytes(file.read_bytes())
            settings[kind] = f"{CODE}/{copy.name}:{settings[kind].rpartition(':')[2]}"
    data = {"event_shape": event_shape, "trained_groups": trained_groups, "value_range": value_range}
    write_json(path / CONFIG, {"format_version": FORMAT_VERSION, **settings, **data})


def load_config(path: str | Path) -> tuple[RunConfig, tuple[int, ...]]:
    """What the run in a folder is made from, and the shape of one observation, finished or not.

    Raises:
        InputError: there is no config.json, or it is not what this version writes.
    """
    settings, data = read_config(find_path(path))
    return RunConfig(**settings), data["event_shape"]


def required(path: Path, name: str) -> Path:
    """The path of a file that every finished run folder has, or an :class:`InputError`."""
    if not (path / name).is_file():
        resume = f", or finish it with train --resume {path}" if name == WEIGHTS else ""
        raise InputError(
            f"{path} is not a finished run folder: {name} is missing; name one from train{resume}"
        )
    return path / name


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a :class:`RunConfig`, and what is known of the data, by the names of ``DATA_KEYS``.

    Raises:
        InputError: there is no config.json, or it is not what this version writes.
    """
    file = required(path, CONFIG)
    try:
        settings = json.loads(file.read_text())
        version = settings.pop("format_version")
        # Runs written before there was a choice.
        settings.setdefault("precision", RunConfig.precision)
        if version == 1:
            settings |= {"trained_groups": [], "value_range": None}
        known = {field.name for field in fields(RunConfig)} | set(DATA_KEYS)
        if version not in (1, FORMAT_VERSION) or set(settings) != known:
            raise InputError(
                f"{file} has format_version {version!r:.100} and settings other than those of this version "
                f"of pyro_mlvae: open it with the version that wrote it"
            )
        settings["hidden"] = tuple(settings["hidden"])
        settings["hold_out_groups"] = tuple(settings["hold_out_groups"])
        for kind in ("model", "guide"):
            if not isinstance(settings[kind], str):
                raise TypeError(f"{kind} is no text")
            copy, _, name = settings[kind].rpartition(":")
            # Of a run's folder no code is run but its own copy.
            if copy == f"{CODE}/{kind}.py":
                settings[kind] = f"{path / copy}:{name}"
            elif is_custom(settings[kind]) and custom_file(settings[kind]) is not None:
                raise InputError(f"{file} names code outside {path / CODE}: train the run again")
        return settings, _about_data(settings)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        reason = printable(str(error)[:200])
        raise InputError(f"{file} is damaged ({reason}): train the run again") from None


def _about_data(settings: dict[str, Any]) -> dict[str, Any]:
    """Take what is known of the data out of what config.json holds."""
    event_shape, names, value_range = (settings.pop(key) for key in DATA_KEYS)
    require_positive(**{f"side {i} of event_shape": n for i, n in enumerate(event_shape)})
    require_positive(**{"the size of event_shape": math.prod(event_shape)})
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError("trained_groups is no list of text")
    if value_range is not None:
        low, high = map(float, value_range)
        if not low <= high < math.inf:
            raise ValueError("value_range is no range")
        value_range = low, high
    return dict(zip(DATA_KEYS, (tuple(event_shape), tuple(names), value_range), strict=True))
