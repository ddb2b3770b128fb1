"""What commands check of a pair and its data before anything is written."""

from __future__ import annotations

import sys
from dataclasses import replace

from torch import Tensor

from pyro_mlvae.checking import check
from pyro_mlvae.data import GroupedDataset, GroupSampler
from pyro_mlvae.data.folders import size_for_first_run
from pyro_mlvae.data.scaling import Scaling
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.models import MLVAE
from pyro_mlvae.runs.config import RunConfig


def checked_pair(
    config: RunConfig, data: GroupedDataset, train: GroupedDataset
) -> tuple[MLVAE, GroupedGuide, Scaling]:
    """The model and guide of a config with their initial weights, and the scaling of x for them.

    Raises:
        InputError: the likelihood can give no value to some x.
        PairError: something is wrong with the pair, which may come from a user's file.
    """
    scaling = config.scaling(train)
    model, guide = config.build(data.event_shape, scaling)
    check_values(model, data)
    check(model, guide, next(GroupSampler(train, 3, 3, seed=config.seed).epoch(0)))
    return model, guide, scaling


def sized(config: RunConfig, *, say: bool = True) -> RunConfig:
    """A config with the size at which images are read; one that nobody gave is said on stderr."""
    kind, _, place = config.data.partition(":")
    if kind != "folder" or not place or config.image_size is not None:
        return config
    size = size_for_first_run(place)
    if say and size is not None:
        print(
            f"images are read at {size}x{size}, for a first run of minutes: --image-size says "
            f"otherwise",
            file=sys.stderr,
        )
    return replace(config, image_size=size)


def check_values(model: MLVAE, data: GroupedDataset) -> None:
    """Raise :class:`InputError` where the likelihood can give no value to x, of data in memory.

    Pixels in uint8 are in [0, 1], and what is read when asked for is checked as it is read.
    """
    if isinstance(data.x, Tensor) and data.x.is_floating_point():
        model.likelihood.check(data.x)
