"""The validation part: what of the training part is held out while training goes on."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.grouping import random_rank
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.data.splits import Split, at_random
from pyro_mlvae.errors import InputError

# Of fewer observations the ELBO says too little; data that cannot spare them does without.
LEAST_VALIDATED = 20
MOST_VALIDATED = 2_000
_MOST_OF_SMALL = 0.2
# From so many held-out groups on, whole groups are held out where unseen groups are what counts.
_ENOUGH_GROUPS = 10


def with_validation(
    split: Split,
    data: GroupedDataset,
    fraction: float,
    *,
    unseen_groups: bool = False,
    seed: int = 0,
) -> Split:
    """The split with a part of its training observations put aside for validation.

    Args:
        split: the split; its test part stays as it is.
        data: what it is of.
        fraction: how much of the training part is put aside, from 20 to 2,000 observations.
        unseen_groups: whether the test part is of groups that training does not see. Then whole
            groups are put aside, where the fraction is at least 10 of them, so that validation is
            of unseen groups too. Else observations are, at random, but never the last one of a
            group.
        seed: of the choice.

    Returns:
        The split, with an empty validation part where 20 observations are more than a fifth of the
        training part, or where its groups cannot spare as many.

    Raises:
        InputError: the fraction does not lie between 0 and 1.

    >>> data = GroupedDataset.from_arrays(torch.arange(300.0)[:, None], torch.arange(300) % 5)
    >>> split = with_validation(Split.by_observations(data, 0.2, seed=0), data, 0.1)
    >>> len(split.train), len(split.validation), len(split.test)
    (216, 24, 60)
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"validation_fraction must lie between 0 and 1, got {fraction}")
    if _MOST_OF_SMALL * len(split.train) < LEAST_VALIDATED:
        return split
    group = data.group[split.train]
    seed = mixed_seed(seed, 1)  # another choice than that of the test part
    sizes = group.bincount(minlength=data.num_groups)
    if unseen_groups and round(fraction * int((sizes > 0).sum())) >= _ENOUGH_GROUPS:
        held_out = at_random(sizes > 0, fraction, seed)[group]
    else:
        count = max(round(fraction * len(group)), LEAST_VALIDATED)
        held_out = _at_random_but_the_last(group, count, seed)
    generator = torch.Generator().manual_seed(seed)
    chosen = split.train[held_out]
    chosen = chosen[torch.randperm(len(chosen), generator=generator)[:MOST_VALIDATED]].sort().values
    if len(chosen) < LEAST_VALIDATED:
        return split
    # Of groups that are held out whole nothing is trained on, even if not all of them is measured.
    train = (
        split.train[~held_out] if unseen_groups else split.train[~torch.isin(split.train, chosen)]
    )
    return replace(split, train=train, validation=chosen)


def _at_random_but_the_last(group: Tensor, count: int, seed: int) -> Tensor:
    """So many observations at random, but never the last one of a group, bool ``[N]``.

    Of groups of one observation each, any.
    """
    # Both from the same random order.
    order = torch.randperm(len(group), generator=torch.Generator().manual_seed(seed))
    spare = random_rank(group, torch.Generator().manual_seed(seed)) > 0
    if not spare.any():
        spare = ~spare
    chosen = order[spare[order]][:count]
    return torch.zeros(len(group), dtype=torch.bool).index_fill(0, chosen, value=True)
