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
        steps: how many steps were made by its end.
        training_part: the terms on the training part that ``fit`` was given, measured with it.

    The ELBO depends on how large groups are: compare ``validation`` with ``training_part``, whose
    groups are of the same sizes, not with ``terms``.
    """

    epoch: int
    seconds: float
    objective: float
    terms: ElboTerms
    validation: ElboTerms | None = None
    steps: int = 0
    training_part: ElboTerms | None = None

    def row(self) -> dict[str, float | int | None]:
        """The record as a flat row, with the unit of each number in its name."""
        row: dict[str, float | int | None] = {
            "epoch": self.epoch,
            "steps": self.steps,
            "seconds": round(self.seconds, 4),
            "objective_per_group": self.objective,
            "elbo_per_group": float(self.terms.elbo) / self.terms.groups,
            "observations_per_group": self.terms.observations_per_group,
        }
        row |= {f"{name}_per_observation": v for name, v in self.terms.per_observation().items()}
        for part, terms in (
            ("validation", self.validation),
            ("training_part", self.training_part),
        ):
            measured = terms.per_observation() if terms else {}
            row |= {
                f"{part}_{name}_per_observation": measured.get(name)
                for name in self.terms.per_observation()
            }
            row[f"{part}_observations_per_group"] = terms.observations_per_group if terms else None
        return row


@dataclass
class History:
    """The epochs of a training run.

    Attributes:
        epochs: one record an epoch, in order.
        ended: why the run ended: "budget", "patience" (the validation batch said that it was time),
            or "interrupted" by Ctrl-C; None while it goes on.
        best_steps: after how many steps the weights were best on the validation batch, which they
            have again; None where the last ones are kept.
        eager: why steps were not recorded and replayed, if that was tried and failed.

    >>> history = History([EpochRecord(1, 0.5, -9.0, ElboTerms(-10.0, {"style": 2.0}, 4, 2))])
    >>> history.rows()[0]["elbo_per_observation"]
    -3.0
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    ended: str | None = None
    best_steps: int | None = None
    eager: str | None = None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run before its budget."""
        return self.ended == "interrupted"

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
