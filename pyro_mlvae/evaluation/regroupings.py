"""Scores of a probe on what several observations of a group say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.evaluation.standard_errors import of_groups

if TYPE_CHECKING:
    from pyro_mlvae.evaluation.probe import Probe, Scores


def scores_of_several(
    probe: Probe,
    code: Callable[[Tensor, Tensor], Tensor],
    test: GroupedDataset,
    *,
    ks: Sequence[int],
    regroupings: int,
    seed: int,
) -> dict[str, Scores | None]:
    """The scores for every k above 1, on random regroupings of the observations of each group.

    Args:
        probe: trained on codes of single observations.
        code: from indices of observations ``[M]`` and the new group of each ``[M]`` to a code for
            each new group.
        test: held-out observations, whose groups have a label each.
        ks: numbers of observations in a group.
        regroupings: how many; standard errors count observations, however many these are.
        seed: of the regroupings.

    Returns:
        By k as text; None for a k for which no group is large enough.
    """
    result: dict[str, Scores | None] = {}
    for k in ks:
        if k == 1:
            continue
        generator = torch.Generator().manual_seed(seed)
        rounds = [regroup(test.group, k, generator, drop_smaller=True) for _ in range(regroupings)]
        index = torch.cat([index for index, _ in rounds])
        if not len(index):
            result[str(k)] = None
            continue
        # All the regroupings at once: they make equally many groups, numbered one after the other.
        count = int(rounds[0][1].max()) + 1
        group = torch.cat([group + number * count for number, (_, group) in enumerate(rounds)])
        label = torch.empty(count * regroupings, dtype=torch.int64)
        label[group] = test.label[index]
        right, surprise = probe.read(code(index, group), label)
        result[str(k)] = {
            "accuracy": float(right.mean()),
            "standard_error": of_groups(right, index, group),
            "cross_entropy": float(surprise.mean()),
        }
    return result
