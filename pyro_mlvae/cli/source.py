"""The observations that a run is asked about: its own, or another data set of that shape."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.catalogue import TABLES
from pyro_mlvae.data.ranges import as_in_training
from pyro_mlvae.data.splits import Split
from pyro_mlvae.errors import InputError
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.folder import Run
from pyro_mlvae.runs.run_data import at_absolute_place, data_of_run


@dataclass(frozen=True, eq=False)
class Source:
    """A data set for a run, by the name that ``--data`` calls it, and how the run has split it."""

    name: str
    data: GroupedDataset
    own: bool  # whether it is what the run was trained on a part of
    split: Split
    difference: str = ""  # how the run's own data has changed since, in words

    def held_out(self) -> Tensor:
        """Positions of what the run was not trained on; a line on stderr says what else there is.

        Raises:
            InputError: there are none.
        """
        test, seen = self.split.test, len(self.split.train) + len(self.split.validation)
        if self.own and self.difference:
            changed = f"{self.name} is not as it was in training: {self.difference}"
            if not len(test):
                raise InputError(
                    f"{changed}, and nothing that was held out then is left: put back what it was, "
                    f"or say where that lies now with --data"
                )
            print(
                f"{changed}. Of what was held out then {len(test)} observations are left and used; "
                f"what is new, or has other values, is not",
                file=sys.stderr,
            )
        if not self.own and seen:
            if not len(test):
                raise InputError(
                    f"the run was trained on all of {self.name}: name data that it has not seen"
                )
            print(
                f"left out: {seen} observations of {self.name} that the run was trained on",
                file=sys.stderr,
            )
        return test


def load_for(run: Run, data: str | None, data_root: str | None) -> Source:
    """Load the data that a command names, or the run's own.

    Data is the run's own by its place, or by its digest, wherever it lies now.

    Raises:
        InputError: it cannot be loaded, or its observations are not of the shape or in the range of
            those that the run was trained on.
    """
    config = run.config if data is None else replace(run.config, data=data)
    kind = config.data.partition(":")[0]
    # What says how one kind of data is read says nothing of another.
    if kind not in TABLES:
        config = replace(config, group_column=None, label_column=None, feature_columns=())
    if kind != "folder":
        config = replace(config, image_size=None, grayscale=False, skip_bad=False)
    if data_root is not None:
        config = replace(config, data_root=data_root)
    loaded = config.load()
    if tuple(loaded.event_shape) != run.event_shape:
        raise InputError(
            f"{config.data} has observations of shape {list(loaded.event_shape)}, but the run was "
            f"trained on {list(run.event_shape)}: name data of that shape"
        )
    source = _source(run, config, loaded)
    if (source.difference or not source.own) and run.value_range is not None:
        return replace(source, data=as_in_training(source.name, loaded, run.value_range, run.uint8))
    return source


def _source(run: Run, config: RunConfig, loaded: GroupedDataset) -> Source:
    if at_absolute_place(config).data == at_absolute_place(run.config).data:
        found = data_of_run(config, run.recorded, run.data_digest, loaded)
        return Source(config.data, loaded, own=True, split=found.split, difference=found.difference)
    seen = torch.zeros(len(loaded), dtype=torch.bool)
    if run.recorded is not None:
        found = data_of_run(config, run.recorded, run.data_digest, loaded)
        if not found.difference:
            return Source(config.data, loaded, own=True, split=found.split)
        # Where not all is read, an observation may be known by its position alone, and be another.
        if found.identity.every == 1:
            seen[torch.cat([found.split.train, found.split.validation])] = True
    nothing = torch.empty(0, dtype=torch.int64)
    split = Split(seen.nonzero().flatten(), nothing, (~seen).nonzero().flatten())
    return Source(config.data, loaded, own=False, split=split)
