"""Groups that training never saw: are their observations told apart by content?

Beside every number stand those that come for nothing: an untrained encoder's, and the pixels' own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.scaling import scaling_of
from pyro_mlvae.evaluation.episodes import most_ways
from pyro_mlvae.evaluation.few_shot import few_shot_accuracy, nearest_neighbour_accuracy
from pyro_mlvae.evaluation.verification import nearest_neighbour_auc, verification_auc
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import encode, experts

# Of an episode's groups, in the rows of ``protocols``.
WAYS = (5, 20)


def unseen_metrics(
    guide: GroupedGuide,
    untrained: GroupedGuide,
    test: GroupedDataset,
    *,
    vae: GroupedGuide | None = None,
    seen: GroupedDataset | None = None,
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
        vae: a guide trained without groups, for comparison.
        seen: observations of other groups. A single unseen group can only be told from those: then
            each pair of the verification has its first observation of the unseen group.
        ways: groups to choose among; fewer where there are fewer.
        shots: observations of each that are given; those for which groups are too small are None.
        episodes: how many choices are averaged.
        seed: of the episodes and pairs, which are the same for all that is compared.

    Returns:
        Accuracies with their standard errors, or None where there is nothing to be told apart, or
        no group has two observations. Under ``protocols`` stands an entry for each of 5 and 20
        ways, each number of shots, and episodes ``within`` one super-group or over all groups;
        those for which there are too few groups are left out. 20-way episodes are fewer, so that
        every row has as many queries.
    """
    sizes = test.sizes[test.sizes > 0]
    if int(sizes.max()) < 2:
        return None
    ways = min(ways, len(sizes))
    guides = {"trained": guide, "untrained": untrained} | ({} if vae is None else {"vae": vae})
    parts, group, first = [test], test.group, None
    if ways < 2:
        if seen is None:
            return None
        seen = seen.sample(len(test), seed=seed)
        first = torch.arange(len(test) + len(seen)) < len(test)
        # Numbered apart from the unseen, of whatever data set they are.
        group = torch.cat([test.group, test.num_groups + seen.group])
        parts.append(seen)
    factors = {name: _factors(each, parts) for name, each in guides.items()}
    # Distances between vectors would be those of the feature with the largest unit.
    scaling = scaling_of(parts[-1], missing=True)
    x = torch.cat([scaling(part.observations()) for part in parts])
    scores = {
        name: _few_shot(expert, group, ways, shots, episodes, seed)
        for name, expert in factors.items()
    }
    scores["pixels"] = _few_shot(x, group, ways, shots, episodes, seed)
    auc = {name: verification_auc(e, group, first=first, seed=seed) for name, e in factors.items()}
    auc["pixels"] = nearest_neighbour_auc(x, group, first=first, seed=seed)
    controls = {
        name: {**scores[name], "verification_auc": auc[name]}
        for name in scores
        if name != "trained"
    }
    return {
        "groups": len(sizes),
        "ways": ways if ways > 1 else None,
        "chance": 1.0 / ways if ways > 1 else None,
        "shots": scores["trained"],
        "verification_auc": auc["trained"],
        "vae": None,
        **controls,
        "protocols": _protocols({**factors, "pixels": x}, test, shots, episodes, seed)
        if ways > 1
        else {},
    }


def _protocols(
    compared: Mapping[str, Normal | Tensor],
    test: GroupedDataset,
    shots: tuple[int, ...],
    episodes: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """By name, every kind of episode that can be drawn, with the trained guide's accuracy."""
    rows: dict[str, dict[str, Any]] = {}
    super_group = None if test.parent is None else test.parent[test.group]
    for within in [None] if super_group is None else [super_group, None]:
        for ways, k in itertools.product(WAYS, shots):
            if most_ways(test.group, k, within) < ways:
                continue
            found = {
                name: _accuracy_of(
                    each,
                    test.group,
                    ways=ways,
                    shots=k,
                    episodes=max(1, episodes * WAYS[0] // ways),
                    within=within,
                    seed=seed,
                )
                for name, each in compared.items()
            }
            kind = {"ways": ways, "shots": k, "within": within is not None, "chance": 1.0 / ways}
            where = "over all groups" if within is None else "within a super-group"
            rows[f"{ways}-way {k}-shot, {where}"] = kind | found.pop("trained") | found
    return rows


def _factors(guide: GroupedGuide, parts: Sequence[GroupedDataset]) -> Normal:
    """What each observation alone says of content, one part after the other."""
    said = [experts(guide, encode(guide, part)) for part in parts]
    return Normal(torch.cat([n.loc for n in said]), torch.cat([n.scale for n in said]))


def _few_shot(
    of: Normal | Tensor, group: Tensor, ways: int, shots: tuple[int, ...], episodes: int, seed: int
) -> dict[str, Any]:
    """Accuracy by the number of shots; None where too few groups are large enough."""
    return {
        str(k): _accuracy_of(of, group, ways=ways, shots=k, episodes=episodes, seed=seed)
        if 1 < ways <= most_ways(group, k)
        else None
        for k in shots
    }


def _accuracy_of(of: Normal | Tensor, group: Tensor, **options: Any) -> dict[str, float]:
    """Of the experts of a guide, or of the pixels."""
    if isinstance(of, Tensor):
        return nearest_neighbour_accuracy(of, group, **options)
    return few_shot_accuracy(of, group, **options)
