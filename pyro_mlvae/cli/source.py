"""The observations that a trained run is asked about: its own, or another data set of that shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.errors import InputError
from pyro_mlvae.runs.folder import Run

# Values beyond these observations' are not looked for: the data may be larger than memory.
MOST_RANGED = 10_000


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
        require_range(name, value_range(loaded), run.value_range)
    return Source(name, loaded, own)


def value_range(data: GroupedDataset) -> tuple[float, float]:
    """The smallest and the largest value of x, over at most 10,000 observations."""
    low, high = torch.aminmax(data.sample(MOST_RANGED).observations())
    return float(low), float(high)


def require_range(name: str, found: tuple[float, float], trained: tuple[float, float]) -> None:
    """Raise :class:`InputError` for data that is on another scale than what a run was trained on.

    That is where values lie further outside of the range of training than half its width, as pixels
    from 0 to 255 or from -1 to 1 do of those from 0 to 1, or where all of them fill less than a tenth
    of it, as the other way round. What is nearer cannot be told from other data on the same scale.

    >>> require_range("npz:new.npz", (0.0, 255.0), (0.0, 1.0))
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: npz:new.npz has values from 0 to 255, but the run was trained on values
        from 0 to 1: rescale it to that range
    """
    width = trained[1] - trained[0]
    outside = max(trained[0] - found[0], found[1] - trained[1]) > width / 2
    if outside or found[1] - found[0] < width / 10:
        raise InputError(
            f"{name} has values from {found[0]:.4g} to {found[1]:.4g}, but the run was trained on values "
            f"from {trained[0]:.4g} to {trained[1]:.4g}: rescale it to that range"
        )
