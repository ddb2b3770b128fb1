"""config.json: everything that rebuilds a run, and what is known of the data it was trained on.

A run of an earlier version, which says less of its data, still opens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pyro_mlvae.data.scaling import KINDS, NONE
from pyro_mlvae.errors import InputError, printable, require_positive
from pyro_mlvae.files import find_path, write_atomically
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.custom import custom_file, is_custom

FORMAT_VERSION = 3
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# Copies of the user's own files that the run is made from.
CODE = "code"


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
    data_digest: str | None = None,
    scaling: str = NONE,
    uint8: bool = False,
) -> None:
    """Write config.json: everything that rebuilds the run, a user's own classes included.

    A file of the user's is copied into the run's folder, and named there: the run goes on meaning
    the same when that file is changed, or the folder moved. What is known of the data is as the
    attributes of :class:`~pyro_mlvae.runs.Run` say; of the scaling the kind is written here, and
    its numbers are among the weights.
    """
    settings = asdict(config)
    for kind in ("model", "guide"):
        file = custom_file(settings[kind]) if is_custom(settings[kind]) else None
        if file is not None:
            copy = path / CODE / f"{kind}.py"
            with write_atomically(copy) as temporary:
                temporary.write_bytes(file.read_bytes())
            settings[kind] = f"{CODE}/{copy.name}:{settings[kind].rpartition(':')[2]}"
    data = {
        "event_shape": event_shape,
        "trained_groups": trained_groups,
        "value_range": value_range,
        "data_digest": data_digest,
        "scaling": scaling,
        "uint8": uint8,
    }
    write_json(path / CONFIG, {"format_version": FORMAT_VERSION, **settings, **data})


def load_config(path: str | Path) -> tuple[RunConfig, tuple[int, ...]]:
    """What the run in a folder is made from, and the shape of one observation, finished or not.

    Raises:
        InputError: as for :func:`read_config`.
    """
    config, data = read_config(find_path(path))
    return config, data["event_shape"]


def required(path: Path, name: str) -> Path:
    """The path of a file that every finished run folder has, or an :class:`InputError`."""
    if not (path / name).is_file():
        resume = f", or finish it with train --resume {path}" if name == WEIGHTS else ""
        raise InputError(
            f"{path} is not a finished run folder: {name} is missing; name one from train{resume}"
        )
    return path / name


def read_config(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """What a run is made from, and what is known of its data, by the names of ``DATA_KEYS``.

    The file may have been edited by hand, or written by another version: what it lacks has its
    default.

    Raises:
        InputError: there is no config.json; or it is no JSON, has a setting that this version does
            not know, or one that is not of its kind, which the sentence names.
    """
    file = required(path, CONFIG)
    settings = _read_settings(file)
    data = {key: settings.pop(key, default) for key, (default, *_) in DATA_KEYS.items()}
    for kind in ("model", "guide"):
        if isinstance(settings.get(kind), str):
            settings[kind] = _own_code(path, kind, settings[kind])
    for field in fields(RunConfig):
        # JSON knows no tuples.
        if isinstance(field.default, tuple) and isinstance(settings.get(field.name), list):
            settings[field.name] = tuple(settings[field.name])
    try:
        return RunConfig(**settings), _checked(data)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _read_settings(file: Path) -> dict[str, Any]:
    """What the file says, of settings that this version knows."""
    try:
        # Of bytes, the encoding and a byte-order mark are recognised.
        settings = json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise InputError(
            f"{file} is no valid JSON at line {error.lineno}, column {error.colno} ({error.msg}): "
            f"correct it there"
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(
            f"{file} cannot be read ({printable(str(error)[:200])}): write it as JSON"
        ) from None
    if not isinstance(settings, dict):
        raise InputError(
            f"{file} must hold settings by name, {{...}}, got {settings!r:.100}: correct it"
        )
    version = settings.pop("format_version", FORMAT_VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(
            f"{file}: format_version must be {FORMAT_VERSION} or less, got {version!r:.100}"
        )
    if version > FORMAT_VERSION:
        raise InputError(
            f"{file} has format_version {version!r:.100}, but this version of pyro_mlvae reads "
            f"those up to {FORMAT_VERSION}: open it with the version that wrote it, or a later one"
        )
    known = [*(field.name for field in fields(RunConfig)), *DATA_KEYS]
    unknown = [_with_nearest(name, known) for name in settings if name not in known]
    if unknown:
        raise InputError(
            f"{file} has {'settings' if len(unknown) > 1 else 'a setting'} that this version of "
            f"pyro_mlvae does not know, {', '.join(unknown[:5])}: correct or remove what you "
            f"wrote, or open it with the version that wrote it"
        )
    return settings


def _with_nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"{name[:100]!r} (did you mean {near[0]!r}?)" if near else repr(name[:100])


def _own_code(path: Path, kind: str, setting: str) -> str:
    """The setting of model or guide with the place of the run's own copy of its file."""
    copy, _, name = setting.rpartition(":")
    if copy == f"{CODE}/{kind}.py":
        return f"{path / copy}:{name}"
    # Of a run's folder no code is run but its own copy.
    if is_custom(setting) and custom_file(setting) is not None:
        raise InputError(f"{path / CONFIG} names code outside {path / CODE}: train the run again")
    return setting


def _is_range(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    numbers = pair and all(type(end) in (int, float) for end in value)
    return numbers and -math.inf < value[0] <= value[1] < math.inf


# What is known of the data beside the settings: of each key its value where the file lacks it, what
# may be there, and that in words.
DATA_KEYS: dict[str, tuple[Any, Callable[[Any], bool], str]] = {
    "event_shape": (
        None,
        lambda value: isinstance(value, list) and bool(value),
        "the shape of one observation, as [1, 28, 28]",
    ),
    "trained_groups": (
        [],
        lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
        "a list of names",
    ),
    "value_range": (
        None,
        lambda value: value is None or _is_range(value),
        "null or the least and the largest value of x",
    ),
    "data_digest": (None, lambda value: value is None or isinstance(value, str), "null or text"),
    "scaling": (NONE, lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
    "uint8": (False, lambda value: isinstance(value, bool), "true or false"),
}


def _checked(data: dict[str, Any]) -> dict[str, Any]:
    """What the file says of the data, lists as tuples."""
    for key, (_, may_be, what) in DATA_KEYS.items():
        if not may_be(data[key]):
            raise InputError(f"{key} must be {what}, got {data[key]!r:.100}")
    shape, value_range = data["event_shape"], data["value_range"]
    require_positive(**{f"side {i} of event_shape": n for i, n in enumerate(shape)})
    require_positive(**{"the size of event_shape": math.prod(shape)})
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return found | {"value_range": value_range and tuple(map(float, value_range))}
