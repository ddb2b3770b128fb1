"""What the training of a run came to, from its history.csv and its checkpoint."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation import TrainingProgress
from pyro_mlvae.runs.folder import CHECKPOINT, HISTORY
from pyro_mlvae.training import History
from pyro_mlvae.training.progress import Progress


def training_progress(folder: Path) -> TrainingProgress | None:
    """The ELBO by epoch and the number of steps; None where no epoch was written."""
    file = folder / HISTORY
    if not file.is_file():
        return None
    try:
        rows = [*csv.DictReader(file.read_text("utf-8").splitlines())]
        elbo = [float(row["elbo_per_observation"]) for row in rows]
        # Earlier versions did not write how many steps were made.
        steps = int(rows[-1]["steps"]) if rows and "steps" in rows[-1] else None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error!r}): train the run again") from None
    return TrainingProgress(elbo, steps) if elbo else None


def load_history(folder: Path) -> History | None:
    """The history that the checkpoint of a run has; None where there is none that can be read."""
    try:
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            return Progress.from_json(json.loads(file.metadata()["progress"]), {}).history
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
