"""The observations that a trained run is asked about: its own, or another data set of that shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.ranges import as_in_training
from pyro_mlvae.errors import InputError
from pyro_mlvae.runs.folder import Run


@dataclass(frozen=True, eq=False)
class Source:
    """A data set for a run.

    Attributes:
        name: what ``--data`` calls it.
        data: all of its observations.
        own: whether the run was trained on a part of it.
    """

    name: str
    data: GroupedDataset
    own: bool


def load_for(run: Run, data: str | None, data_root: str | None) -> Source:
    """Load the data that a command names, or the run's own.

    Args:
        run: the trained run.
        data: the data set's name, as ``--data`` takes it; the run's own by default.
        data_root: where its files are, if not where they were in training.

    Raises:
        InputError: it cannot be loaded, or its observations are not of the shape or in the range of
            those that the run was trained on.
    """
    name = data or run.config.data
    config = run.config if name == run.config.data else replace(run.config, data=name)
    if data_root is not None:
        config = replace(config, data_root=data_root)
    loaded = config.load()
    if tuple(loaded.event_shape) != run.event_shape:
        raise InputError(
            f"{name} has observations of shape {list(loaded.event_shape)}, but the run was trained on "
            f"{list(run.event_shape)}: name data of that shape"
        )
    own = name == run.config.data
    if not own and run.value_range is not None:
        loaded = as_in_training(name, loaded, run.value_range, run.uint8)
    return Source(name, loaded, own)
