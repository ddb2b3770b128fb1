"""The history of a run that was trained before, as its figures need it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pyro_mlvae.runs.folder import CHECKPOINT
from pyro_mlvae.training import History
from pyro_mlvae.training.progress import Progress


def load_history(folder: Path) -> History | None:
    """The history that the checkpoint of a run has; None where there is none that can be read."""
    try:
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            return Progress.from_json(json.loads(file.metadata()["progress"]), {}).history
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None
