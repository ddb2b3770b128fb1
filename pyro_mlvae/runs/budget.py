"""What is asked of the options that say how long a run trains, and on what changes of images."""

from __future__ import annotations

from pyro_mlvae.data.augment import check_augmentations
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.runs.options import TrainingOptions


def check_budget(options: TrainingOptions) -> None:
    """Raise :class:`InputError` for a budget, a patience or an augmentation that there is not."""
    if options.epochs is not None and options.steps is not None:
        raise InputError(
            f"steps and epochs exclude each other, got {options.steps} and {options.epochs}: give one of "
            f"them"
        )
    budgets = {"epochs": options.epochs, "steps": options.steps}
    require_positive(**{name: value for name, value in budgets.items() if value is not None})
    if options.patience < 0:
        raise InputError(f"patience must be at least 0, which is none, got {options.patience}")
    if not 0.0 <= options.validation_fraction < 1.0:
        raise InputError(
            f"validation_fraction must be at least 0 and less than 1, got {options.validation_fraction}"
        )
    check_augmentations(options.augment)
