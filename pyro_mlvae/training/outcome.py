"""Whether a run had too few steps, or more than it could use: what its validation curve says."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pyro_mlvae.training.history import History

# Differences below that, or below so many standard errors of noise, are not worth a word.
LEAST_NATS = 0.1
_STANDARD_ERRORS = 2.0
_WINDOW = 0.2


def outcome(history: History) -> str | None:
    """A sentence where a run ended for lack of steps, or was overfitting; None otherwise.

    It ended too early where the mean validation ELBO of its last fifth is above that of the fifth
    before. It was overfitting where the mean since the best measurement's fifth lies below it.
    Either counts from 0.1 nats per observation on, and two standard errors of the noise from
    measurement to measurement.

    >>> from pyro_mlvae.estimators import ElboTerms
    >>> from pyro_mlvae.training import EpochRecord
    >>> def history(*elbo):
    ...     held_out = [ElboTerms(10.0 * value, {}, 10, 1) for value in elbo]
    ...     records = [EpochRecord(i, 0.1, 0.0, t, t, 9 * i) for i, t in enumerate(held_out, 1)]
    ...     return History(records, ended="budget")
    >>> print(outcome(history(*range(10))))
    the validation ELBO was still rising when the 90 steps were over, by 2 nats per observation
    in the last 18: give more with --steps
    >>> outcome(history(0.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0)) is None
    True
    """
    measured = [record for record in history.epochs if record.validation is not None]
    steps = [record.steps for record in measured]
    elbo = [float(r.validation.elbo) / r.validation.observations for r in measured if r.validation]
    if len(measured) < 2:
        return None
    window = max(1, round(_WINDOW * len(elbo)))
    rise = _difference(elbo[-2 * window : -window], elbo[-window:])
    if history.ended == "budget" and rise is not None:
        return (
            f"the validation ELBO was still rising when the {steps[-1]:,} steps were over, by "
            f"{rise:.2g} nats per observation in the last {steps[-1] - steps[-window - 1]:,}: give "
            f"more with --steps"
        )
    if history.best_steps is None:
        return None
    best = steps.index(history.best_steps)
    around = elbo[max(0, best - window // 2) : best + window // 2 + 1]
    fall = _difference(elbo[-window:], around)
    if best + window // 2 >= len(elbo) - window or fall is None:
        return None
    return (
        f"the validation ELBO was best after {history.best_steps:,} steps and fell by {fall:.2g} "
        f"nats per observation until step {steps[-1]:,}, which is overfitting: the weights of the "
        f"best are kept"
    )


def _difference(lower: Sequence[float], upper: Sequence[float]) -> float | None:
    """By how much the mean of ``upper`` lies above that of ``lower``; None if not clearly."""
    if not lower or not upper:
        return None
    found = statistics.fmean(upper) - statistics.fmean(lower)
    noise = sum(statistics.variance(part) / len(part) for part in (lower, upper) if len(part) > 1)
    return found if found >= max(LEAST_NATS, _STANDARD_ERRORS * noise**0.5) else None
