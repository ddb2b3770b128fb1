"""How far a run has come, which a checkpoint holds beside the weights, and when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.training.history import EpochRecord, History
from pyro_mlvae.training.validation import Best


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 1  # the present one
    minibatches: int = 0  # of that epoch that are done
    steps: int = 0  # in all
    objective: float = 0.0  # of that epoch so far, summed over its groups
    terms: ElboTerms = field(default_factory=ElboTerms)  # of that epoch so far
    seconds: float = 0.0  # of that epoch so far
    history: History = field(default_factory=History)  # the epochs that have ended
    best: Best | None = None  # the best weights so far, where they are kept
    shapes: list[Any] = field(default_factory=list)  # of recorded minibatches, in order

    def add(self, loss: float, batch: GroupedBatch, terms: ElboTerms, weight: float = 1.0) -> None:
        """Count a step on a batch of this weight in its minibatch, see :meth:`Ranks.shares`."""
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
        """All of it but the best weights, which are tensors."""
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


@dataclass(frozen=True)
class Budget:
    """How long training may take: so many epochs or steps, and patience.

    Raises:
        InputError: none or both of epochs and steps are given, or a number is not positive.
    """

    epochs: int | None = None
    steps: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        require_positive(**{name: value for name, value in vars(self).items() if value is not None})
        if (self.epochs is None) == (self.steps is None):
            both = f"epochs={self.epochs} and steps={self.steps}"
            raise InputError(
                f"training takes one budget, epochs or steps, got "
                f"{'neither' if self.epochs is None else both}: give one of them"
            )

    def open(self, progress: Progress) -> bool:
        """Whether there is an epoch to begin, or to finish."""
        if self.impatient(progress.best):
            return False
        if self.epochs is not None:
            return progress.epoch <= self.epochs
        left = self._steps_left(progress)
        # An epoch that was cut where the steps ended has still to be measured.
        return left > 0 or (left == 0 and progress.minibatches > 0)

    def cut(self, progress: Progress) -> int | None:
        """The number of minibatches after which the present epoch is cut; None where it is not."""
        return None if self.steps is None else progress.minibatches + self._steps_left(progress)

    def spent(self, progress: Progress) -> bool:
        """Whether nothing is left once the present epoch has ended."""
        if self.epochs is not None:
            return progress.epoch == self.epochs
        return self._steps_left(progress) == 0

    def _steps_left(self, progress: Progress) -> int:
        return 0 if self.steps is None else self.steps - progress.steps

    def impatient(self, best: Best | None) -> bool:
        """Whether the best weights are too long ago."""
        return best is not None and self.patience is not None and best.since >= self.patience
