"""What happened in training: a value that callers print, draw or write."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.files import write_atomically


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training.

    Attributes:
        epoch: its number, from 1.
        seconds: how long it took, validation included.
        objective: what was maximised, averaged over its minibatches: nats per group.
        terms: the terms of the ELBO, summed over its minibatches as they were at each step.
        validation: the terms on the validation batch after it, in the epochs that measure them.
    """

    epoch: int
    seconds: float
    objective: float
    terms: ElboTerms
    validation: ElboTerms | None = None

    def row(self) -> dict[str, float | int | None]:
        """The record as a flat row, with the unit of each number in its name."""
        row: dict[str, float | int | None] = {
            "epoch": self.epoch,
            "seconds": round(self.seconds, 4),
            "objective_per_group": self.objective,
            "elbo_per_group": float(self.terms.elbo) / self.terms.groups,
        }
        row |= {f"{name}_per_observation": v for name, v in self.terms.per_observation().items()}
        held_out = self.validation.per_observation() if self.validation else {}
        row |= {
            f"validation_{name}_per_observation": held_out.get(name)
            for name in self.terms.per_observation()
        }
        return row


@dataclass
class History:
    """The epochs of a training run.

    Attributes:
        epochs: one record an epoch, in order.
        interrupted: whether Ctrl-C ended the run before its last epoch.
        eager: why steps were not recorded and replayed, if that was tried and failed.

    >>> history = History([EpochRecord(1, 0.5, -9.0, ElboTerms(-10.0, {"style": 2.0}, 4, 2))])
    >>> history.rows()[0]["elbo_per_observation"]
    -3.0
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    interrupted: bool = False
    eager: str | None = None

    def rows(self) -> Sequence[dict[str, float | int | None]]:
        """One flat row an epoch."""
        return [record.row() for record in self.epochs]

    def write_csv(self, path: str | Path) -> None:
        """Write the rows as CSV; the file appears whole or not at all."""
        rows = self.rows()
        with write_atomically(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["epoch"])
            writer.writeheader()
            writer.writerows(rows)
