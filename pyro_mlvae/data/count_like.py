"""Whether vectors are surely counts, which have a likelihood of their own."""

from __future__ import annotations

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.ranges import MOST_RANGED

# Answers on a scale of a few steps, and true and false, are no counts of anything.
_LEAST_LARGEST = 10


def looks_like_counts(data: GroupedDataset) -> bool:
    """Whether x are vectors of whole numbers from 0 upward that are spread as counts are.

    It is said only where it is sure: 0 is the most frequent value, 1 the next, each by a tenth, as
    in pixels and marks they are not; the largest is at least 10; and in most of the features the
    variance is above the mean. At most 10,000 observations are read.

    >>> import torch
    >>> counts = torch.distributions.NegativeBinomial(0.3, torch.tensor(0.9)).sample((100, 5))
    >>> looks_like_counts(GroupedDataset.from_arrays(counts, [0] * 100))
    True
    >>> looks_like_counts(GroupedDataset.from_arrays(counts / 2, [0] * 100))
    False
    """
    if len(data.event_shape) != 1 or not data.x.dtype.is_floating_point:
        return False
    x = data.sample(MOST_RANGED).observations().double()
    values, times = x[~x.isnan()].unique(return_counts=True)
    whole = values[0] >= 0.0 and bool((values == values.floor()).all())
    if not whole or values[:2].tolist() != [0.0, 1.0] or values[-1] < _LEAST_LARGEST:
        return False
    variance, mean = x.nan_to_num().var(0), x.nan_to_num().mean(0)
    spread = (variance > mean)[mean > 0.0].double().mean() > 0.5
    falling = times[0] > 1.1 * times[1] > 1.1**2 * times[2:].max()
    return bool(falling and spread)
