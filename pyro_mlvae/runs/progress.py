"""What the training of a run came to, from its history.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation import TrainingProgress
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.folder import HISTORY
from pyro_mlvae.runs.minibatches import steps_of_an_epoch


def training_progress(folder: Path, config: RunConfig, train: GroupedDataset) -> TrainingProgress | None:
    """The ELBO by epoch and the number of steps; None where no history, or no epoch, was written.

    Args:
        folder: the run folder.
        config: its settings.
        train: what it was trained on.

    Raises:
        InputError: history.csv is damaged.
    """
    file = folder / HISTORY
    if not file.is_file():
        return None
    try:
        rows = csv.DictReader(file.read_text("utf-8").splitlines())
        elbo = [float(row["elbo_per_observation"]) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error!r}): train the run again") from None
    if not elbo:
        return None
    return TrainingProgress(elbo, steps=len(elbo) * steps_of_an_epoch(config, train))
