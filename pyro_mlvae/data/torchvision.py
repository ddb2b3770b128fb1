"""Any data set of torchvision's form, with a function that says what group an observation is in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.data.images import pixels_of
from pyro_mlvae.errors import InputError


def from_torchvision(
    dataset: Any,
    group: Callable[[Any], Hashable] = lambda target: target,
    label: Callable[[Any], Hashable] | None = None,
) -> GroupedDataset:
    """Read a data set whose items are ``(image, target)`` pairs into memory, once.

    Args:
        dataset: has a length, and gives items by index; images are PIL images, arrays or tensors. PIL
            images become uint8 ``[channels, height, width]``, as those of ``folder:`` do; all else stays as
            it is.
        group: from a target to the name of the group; by default the target itself.
        label: from a target to the evaluation label; by default that of the group.

    Raises:
        InputError: there are no items, the images differ in shape, or have floating-point pixels.

    >>> pairs = [(torch.zeros(1, 2, 2), 7), (torch.ones(1, 2, 2), 8)]
    >>> from_torchvision(pairs, group=lambda target: target % 2).group_names
    (0, 1)
    """
    images, groups, labels = [], [], []
    for i in range(len(dataset)):
        image, target = dataset[i]
        images.append(_to_tensor(image))
        groups.append(group(target))
        labels.append(groups[-1] if label is None else label(target))
        if images[i].shape != images[0].shape:
            raise InputError(
                f"all images must have one shape, but item 0 has {list(images[0].shape)} and item {i} has "
                f"{list(images[i].shape)}: give the data set a transform that resizes them"
            )
    if not images:
        raise InputError("the data set must have at least one item, got none")
    return GroupedDataset.from_arrays(torch.stack(images), groups, None if label is None else labels)


def _to_tensor(image: Any) -> Tensor:
    if isinstance(image, Tensor | np.ndarray):
        return torch.as_tensor(image)
    return torch.from_numpy(pixels_of(image).copy())
