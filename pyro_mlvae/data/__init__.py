"""Grouped data: data sets, samplers, and the random choices inside groups."""

from pyro_mlvae.data.augment import AffineJitter, HorizontalFlip
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.catalogue import load_dataset
from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.glyphs import Glyphs, load_glyphs
from pyro_mlvae.data.grouping import regroup
from pyro_mlvae.data.one_shot import OneShotTrials, load_one_shot
from pyro_mlvae.data.samplers import (
    BatchIndices,
    GroupSampler,
    ObservationSampler,
    ReadAhead,
    Sampler,
    ahead_if_spare,
)
from pyro_mlvae.data.table_files import TableColumns
from pyro_mlvae.data.torchvision import from_torchvision

__all__ = [
    "AffineJitter",
    "BatchIndices",
    "Glyphs",
    "GroupSampler",
    "GroupedBatch",
    "GroupedDataset",
    "HorizontalFlip",
    "ObservationSampler",
    "OneShotTrials",
    "ReadAhead",
    "Sampler",
    "TableColumns",
    "ahead_if_spare",
    "from_torchvision",
    "load_dataset",
    "load_glyphs",
    "load_one_shot",
    "regroup",
]
