"""Data sets that are known by name."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.errors import unknown_name
from pyro_mlvae.linear_gaussian import LinearGaussian


def load_digits() -> GroupedDataset:
    """scikit-learn's 1,797 handwritten digits, 1x8x8 grey pixels in [0, 1], grouped by digit."""
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16.0
    return GroupedDataset.from_arrays(images, digits.target)


def load_linear_gaussian() -> GroupedDataset:
    """Draws from the solved model: 200 groups of 2 to 20 observations in 16 dimensions."""
    sizes = torch.randint(2, 21, (200,), generator=torch.Generator().manual_seed(0))
    batch = LinearGaussian.orthogonal().sample(sizes)
    return GroupedDataset.from_arrays(batch.x.float(), batch.group)


DATASETS: dict[str, Callable[[], GroupedDataset]] = {
    "digits": load_digits,
    "linear-gaussian": load_linear_gaussian,
}


def load_dataset(name: str) -> GroupedDataset:
    """The data set of that name.

    Raises:
        InputError: the name is not known; the sentence suggests the nearest.

    >>> load_dataset("digits").event_shape
    torch.Size([1, 8, 8])
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    return DATASETS[name]()
