"""The data of a run: where it lies, whether it is still that of training, and its split."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.identity import Identity, identify
from pyro_mlvae.data.splits import Split
from pyro_mlvae.errors import InputError
from pyro_mlvae.files import find_path
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.config_file import read_config
from pyro_mlvae.runs.split_file import SPLIT, RecordedSplit, load_split


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run says of its data, beside that data as it is now."""

    config: RunConfig  # with the groups that are held out by name
    identity: Identity  # what the data is known by now
    split: Split  # what is new since training is in no part
    difference: str = ""  # from what it was in training, in words


def at_absolute_place(config: RunConfig) -> RunConfig:
    """The config with its data found from whatever folder the program is started in.

    >>> at_absolute_place(RunConfig(data="npz:/tmp/cells.npz")).data
    'npz:/tmp/cells.npz'
    """
    kind, _, place = config.data.partition(":")
    data = f"{kind}:{find_path(place).absolute()}" if place else config.data
    return replace(config, data=data, data_root=str(find_path(config.data_root).absolute()))


def new_data(config: RunConfig, data: GroupedDataset) -> RunData:
    """The data of a new run, whose split is drawn."""
    config, split = config.split(data)
    return RunData(config, identify(data), split)


def data_of_run(
    config: RunConfig, recorded: RecordedSplit | None, digest: str | None, data: GroupedDataset
) -> RunData:
    """The data of a run as it is now, split as it was recorded.

    Of a run of before splits and digests were recorded, the split is drawn as it was then.

    Raises:
        InputError: the split is missing, and the data is not what it was.
    """
    if recorded is not None:
        now = identify(data, every=recorded.identity.every)
        return RunData(config, now, recorded.of(now), recorded.identity.difference(now))
    found = new_data(config, data)
    if digest not in (None, found.identity.digest):
        raise InputError(
            f"{config.data} is not the data that the run was trained on, and {SPLIT}, which says "
            f"what was held out, is not in its folder: put that file or the data back, or train "
            "the run again"
        )
    return found


def resumed_data(folder: Path, config: RunConfig, data: GroupedDataset) -> RunData:
    """The data of a run that goes on; if it is not that of training, the error says how."""
    before, known = read_config(folder)
    remedy = (
        "put back what it was, say where that lies now with --data, or start a new run with --out"
    )
    recorded, digest = load_split(folder), known["data_digest"]
    if tuple(data.event_shape) != known["event_shape"]:
        raise InputError(
            f"{config.data} is not the data that {folder} was trained on: it has observations of "
            f"shape {list(data.event_shape)}, not {list(known['event_shape'])}: {remedy}"
        )
    if recorded is None and digest is None and config.data != at_absolute_place(before).data:
        raise InputError(
            f"{folder} was written before runs recorded what they were trained on, so it cannot be "
            f"told whether {config.data} is that: leave out --data, and put the data at "
            f"{before.data}"
        )
    found = data_of_run(config, recorded, digest, data)
    if found.difference:
        raise InputError(
            f"{config.data} is not the data that {folder} was trained on: {found.difference}: "
            f"{remedy}"
        )
    return found
