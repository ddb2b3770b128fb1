"""When training ends: a budget of epochs or steps, and patience."""

from __future__ import annotations

from dataclasses import dataclass

from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.training.best import Best
from pyro_mlvae.training.progress import Progress


@dataclass(frozen=True)
class Budget:
    """How long training may take.

    Args:
        epochs: so many epochs, or
        steps: so many steps, the last epoch cut where they end.
        patience: at most so many measurements on the validation batch after the best one.

    Raises:
        InputError: none or both of epochs and steps are given, or a number is not positive.
    """

    epochs: int | None = None
    steps: int | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        require_positive(**{name: value for name, value in vars(self).items() if value is not None})
        if (self.epochs is None) == (self.steps is None):
            given = (
                "neither" if self.epochs is None else f"epochs={self.epochs} and steps={self.steps}"
            )
            raise InputError(
                f"training takes one budget, epochs or steps, got {given}: give one of them"
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
