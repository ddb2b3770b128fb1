"""How far a run has come: what a checkpoint holds beside weights and the optimiser's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.training.best import Best
from pyro_mlvae.training.history import EpochRecord, History


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: the epoch that it is in, from 1.
        minibatches: how many of that epoch's minibatches are done.
        steps: how many steps were made in all.
        objective: the objective of that epoch so far, summed over its groups.
        terms: the terms of the ELBO of that epoch so far.
        seconds: how long that epoch has taken so far.
        history: the epochs that have ended.
        best: the best weights so far, where they are kept.
        shapes: the shapes of minibatches of which steps were recorded, in order.
    """

    epoch: int = 1
    minibatches: int = 0
    steps: int = 0
    objective: float = 0.0
    terms: ElboTerms = field(default_factory=ElboTerms)
    seconds: float = 0.0
    history: History = field(default_factory=History)
    best: Best | None = None
    shapes: list[Any] = field(default_factory=list)

    def add(self, loss: float, batch: GroupedBatch, terms: ElboTerms, weight: float = 1.0) -> None:
        """Count a step on a batch that has this weight in its minibatch, see :meth:`Ranks.shares`."""
        if weight:
            self.objective -= loss * batch.num_groups / weight
        self.terms = self.terms + terms
        self.minibatches += 1
        self.steps += 1

    def end_epoch(self, record: EpochRecord) -> None:
        """Go on to the next epoch."""
        self.history.epochs.append(record)
        self.epoch += 1
        self.minibatches, self.objective, self.terms, self.seconds = 0, 0.0, ElboTerms(), 0.0

    def as_json(self) -> dict[str, Any]:
        """All of it but the best weights themselves, which are tensors."""
        best = None if self.best is None else replace(self.best, weights={})
        return asdict(replace(self, best=best))

    @classmethod
    def from_json(cls, value: Mapping[str, Any], best_weights: Mapping[str, Tensor]) -> Progress:
        """The inverse of :meth:`as_json`."""
        best = value["best"]
        return cls(
            epoch=int(value["epoch"]),
            minibatches=int(value["minibatches"]),
            steps=int(value["steps"]),
            objective=float(value["objective"]),
            terms=ElboTerms(**value["terms"]),
            seconds=float(value["seconds"]),
            history=History([_as_record(record) for record in value["history"]["epochs"]]),
            best=None if best is None else Best(**{**best, "weights": dict(best_weights)}),
            shapes=value["shapes"],
        )


def _as_record(value: Mapping[str, Any]) -> EpochRecord:
    # Checkpoints of earlier versions have no training part.
    measured = {
        name: ElboTerms(**value[name])
        for name in ("terms", "validation", "training_part")
        if value.get(name) is not None
    }
    return EpochRecord(**{**value, **measured})
