"""Whether training had come to rest: what a code lacks may only be a matter of more epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A code that tells less cannot tell two things apart: that takes log 2, about 0.7 nats.
LEAST_NATS = 0.1


@dataclass(frozen=True)
class TrainingProgress:
    """What training came to, epoch by epoch.

    Attributes:
        elbo: the ELBO of each epoch, in nats per observation.
        steps: the number of steps in all, or None where it is not known.

    >>> print(TrainingProgress([-67.6, -22.3, -10.9], steps=27).undertrained())
    undertrained: 3 epochs (27 steps), and the ELBO was still rising by 11 nats per observation an
    epoch
    >>> TrainingProgress([10.0] * 50, steps=450).undertrained() is None
    True
    """

    elbo: Sequence[float]
    steps: int | None

    def undertrained(self) -> str | None:
        """A clause that says so, where the ELBO was still rising at the end; None where it was not.

        It was where the mean over the last tenth of the epochs, and at least one epoch, lies above
        that over as many epochs before them by 0.1 nats per observation an epoch or more: what a
        code must be worth to tell anything. Of a single epoch nobody knows.
        """
        epochs = len(self.elbo)
        length = f"{epochs} epoch{'s' if epochs != 1 else ''}"
        if self.steps is not None:
            length += f" ({self.steps} steps)"
        if epochs < 2:
            return f"undertrained: {length}, after which nobody knows whether the ELBO still rises"
        window = max(1, epochs // 10)
        last, before = self.elbo[-window:], self.elbo[-2 * window : -window]
        rise = (sum(last) - sum(before)) / window**2
        if rise < LEAST_NATS:
            return None
        return (
            f"undertrained: {length}, and the ELBO was still rising by {rise:.2g} nats per "
            f"observation an epoch"
        )
