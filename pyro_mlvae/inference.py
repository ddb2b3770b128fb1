"""Inference with a trained guide: what observations, alone or together, say of content and style."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.guides import GroupedGuide


@dataclass(frozen=True, eq=False)
class Codes:
    """What the guide says of single observations.

    Attributes:
        expert: each observation's factor of its group's content, ``[N, content]``.
        content: the content posterior from each observation alone, ``[N, content]``: strategy 1.
        style: the style posterior of each observation, ``[N, style]``.
    """

    expert: Normal
    content: Normal
    style: Normal


@torch.no_grad()
def encode(guide: GroupedGuide, x: GroupedDataset | Tensor, *, batch_size: int = 4096) -> Codes:
    """Encode observations one by one, ``batch_size`` at a time.

    Args:
        guide: a trained guide.
        x: observations, ``[N, *event_shape]``, on any device, or a data set of them.
        batch_size: how many are on the guide's device at once.

    Returns:
        Normals on the guide's device.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> encode(guide, torch.zeros(5, 4)).content.batch_shape
    torch.Size([5, 2])
    """
    device = device_of(guide)
    parts: list[tuple[Normal, Normal, Normal]] = []
    read = x.observations if isinstance(x, GroupedDataset) else x.__getitem__
    for start in range(0, len(x), batch_size):
        chunk = read(slice(start, start + batch_size)).to(device)
        expert, style = guide.encoder(chunk)
        parts.append((expert, *guide.codes_from(chunk, expert, style)))
    return Codes(*(_concatenate(normals) for normals in zip(*parts, strict=True)))


@torch.no_grad()
def group_content(
    guide: GroupedGuide, expert: Normal, data: GroupedDataset, index: Tensor, group: Tensor
) -> Normal:
    """The content posterior of groups formed from observations already encoded: strategy 2.

    Args:
        guide: the guide that encoded them.
        expert: the factors of all of ``data``'s observations, as :func:`encode` gives them.
        data: the observations.
        index: which of them take part, ``[M]``.
        group: the group of each of those, ``[M]``, numbered from 0.

    Returns:
        One Normal a group, batch shape ``[groups, content]``, on the guide's device.
    """
    batch = data.batch(index, group).to(device_of(guide))
    index = index.to(expert.loc.device)
    return guide.aggregate(Normal(expert.loc[index], expert.scale[index]), batch)


def device_of(module: torch.nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next(module.parameters()).device


def _concatenate(normals: tuple[Normal, ...]) -> Normal:
    return Normal(torch.cat([n.loc for n in normals]), torch.cat([n.scale for n in normals]))
