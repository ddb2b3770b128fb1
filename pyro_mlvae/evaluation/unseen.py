"""Groups that training never saw: are their observations told apart by content?

Beside every number stand the two that come for nothing: an untrained encoder's, and the pixels' own.
"""

from __future__ import annotations

from typing import Any

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation.few_shot import few_shot_accuracy, nearest_neighbour_accuracy, verification_auc
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.inference import encode


def unseen_metrics(
    guide: GroupedGuide,
    untrained: GroupedGuide,
    test: GroupedDataset,
    *,
    ways: int = 5,
    shots: tuple[int, ...] = (1, 5),
    episodes: int = 1000,
    seed: int = 0,
) -> dict[str, Any] | None:
    """The ``unseen`` part of metrics.json: few-shot accuracy and verification on held-out groups.

    Args:
        guide: the trained guide.
        untrained: a guide of the same shape with its initial weights, for the control.
        test: observations of groups that were never seen in training.
        ways: groups to choose among; fewer where there are fewer.
        shots: observations of each that are given; those for which groups are too small are None.
        episodes: how many choices are averaged.
        seed: of the episodes, which are the same for all that is compared.

    Returns:
        Accuracies with their standard errors, or None with fewer than two groups.
    """
    sizes = test.sizes[test.sizes > 0]
    ways = min(ways, len(sizes))
    if ways < 2:
        return None
    expert, control = encode(guide, test).expert, encode(untrained, test).expert
    pixels = test.observations()
    result: dict[str, Any] = {
        "groups": len(sizes),
        "ways": ways,
        "chance": 1.0 / ways,
        "shots": {},
        "untrained": {},
        "pixels": {},
        "verification_auc": verification_auc(expert, test.group, seed=seed),
    }
    for k in shots:
        enough = int((sizes > k).sum()) >= ways
        options: dict[str, int] = {"ways": ways, "shots": k, "episodes": episodes, "seed": seed}
        result["shots"][str(k)] = few_shot_accuracy(expert, test.group, **options) if enough else None
        result["untrained"][str(k)] = few_shot_accuracy(control, test.group, **options) if enough else None
        result["pixels"][str(k)] = (
            nearest_neighbour_accuracy(pixels, test.group, **options) if enough else None
        )
    return result
