"""``pyro-mlvae evaluate``: its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Evaluate:
    """Measure a run on held-out observations, and write metrics.json and report.html anew."""

    folder: tyro.conf.Positional[Path]
    """The run folder."""
    data: str | None = None
    """Another data set than the run's own; its numbers go to metrics-NAME.json."""
    data_root: str | None = None
    """Where its files are, if not where they were in training."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or cuda:N."""

    def run(self) -> int:
        """Evaluate; returns the exit status."""
        from pyro_mlvae.cli.evaluating import evaluate_run

        return evaluate_run(self)
