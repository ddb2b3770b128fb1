"""How long a run trains, and what it is judged by on the way."""

from __future__ import annotations

from typing import Any

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation import fixed_groups
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import size_of_groups, steps_of_an_epoch

# The validation ELBO is measured about so many times in a run.
_MEASUREMENTS = 50


def schedule(
    config: RunConfig, train: GroupedDataset, validation: GroupedDataset
) -> dict[str, Any]:
    """What :func:`~pyro_mlvae.fit` takes for a run: budget, validation batch and patience.

    The validation batch has its observations in groups of the size that training's minibatches have
    on average, as far as there are so many of a group: the ELBO depends on the size.

    Args:
        config: of the run.
        train: what it is trained on.
        validation: what it is judged by; where that is empty, it is trained to its last step.

    >>> data = GroupedDataset.from_arrays([[float(i)] for i in range(30)], [i % 3 for i in range(30)])
    >>> nothing = data.subset(data.group[:0])
    >>> schedule(RunConfig(), data, nothing)
    {'steps': 2000}
    """
    if not len(validation):
        return dict(config.budget)
    steps = steps_of_an_epoch(config, train)
    epochs = config.epochs or config.budget["steps"] // steps
    return {
        **config.budget,
        "patience": config.patience or None,
        "validation": fixed_groups(validation, size_of_groups(config, train), seed=config.seed),
        "validate_every": max(1, epochs // _MEASUREMENTS),
    }
