"""Inference with a trained guide: what observations, alone or together, say of content and style."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.guides import GroupedGuide, ProductOfNormals
from pyro_mlvae.ops.evidence import Evidence

BATCH_SIZE = 4096


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
def encode(guide: GroupedGuide, x: GroupedDataset | Tensor, *, batch_size: int = BATCH_SIZE) -> Codes:
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
    parts: list[tuple[Normal, Normal, Normal]] = []
    for _, chunk in _chunks(guide, x, batch_size):
        expert, style = guide.encoder(chunk)
        parts.append((expert, *guide.codes_from(chunk, expert, style)))
    return Codes(*(_concatenate(normals) for normals in zip(*parts, strict=True)))


@torch.no_grad()
def group_content(guide: GroupedGuide, expert: Normal, index: Tensor, group: Tensor) -> Normal:
    """The content posterior of groups formed from observations already encoded: strategy 2.

    Args:
        guide: the guide that encoded them.
        expert: the factors of observations, as :func:`encode` gives them.
        index: which of them take part, ``[M]``.
        group: the group of each of those, ``[M]``, any whole numbers.

    Returns:
        One Normal a group, in the order of their numbers, batch shape ``[groups, content]``.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> expert = encode(guide, torch.zeros(5, 4)).expert
    >>> group_content(guide, expert, torch.arange(3), torch.tensor([0, 1, 1])).batch_shape
    torch.Size([2, 2])
    """
    device = expert.loc.device
    present, dense = torch.unique(group.to(device), return_inverse=True)
    index = index.to(device)
    chosen = Normal(expert.loc[index], expert.scale[index])
    return guide.aggregate(chosen, GroupedBatch.trusted(chosen.loc, dense, len(present)))


@torch.no_grad()
def gather_evidence(
    guide: ProductOfNormals,
    x: GroupedDataset | Tensor,
    group: Tensor | None = None,
    num_groups: int | None = None,
    *,
    batch_size: int = BATCH_SIZE,
) -> Evidence:
    """Accumulate what observations say of their groups' content, in constant memory.

    Evidence adds, so that one observation, one batch, one file or one machine at a time give the
    same as all at once: ``gather_evidence(guide, first) + gather_evidence(guide, second)``. Of a
    sum, ``guide.content_from(evidence)`` is the posterior.

    Args:
        guide: a trained guide whose posterior is a product.
        x: observations, ``[N, *event_shape]``, on any device, or a data set of them.
        group: the group of each, int64 ``[N]``; by default those of the data set, or all of one group.
        num_groups: the number of groups, of which some may have no observation here; by default as
            many as the data set has, or as occur.
        batch_size: how many are on the guide's device at once.

    Returns:
        The evidence on the guide's device, in float64.

    Raises:
        InputError: there are no observations, or ``group`` is not of their number, or outside
            0..num_groups - 1.

    >>> from pyro_mlvae import MLPEncoder
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> x = torch.rand(5, 4)
    >>> apart = gather_evidence(guide, x[:2]) + gather_evidence(guide, x[2:])
    >>> torch.allclose(guide.content_from(apart).loc, guide.content_from(gather_evidence(guide, x)).loc)
    True
    """
    if group is None:
        group = x.group if isinstance(x, GroupedDataset) else torch.zeros(len(x), dtype=torch.int64)
        known = x.num_groups if isinstance(x, GroupedDataset) else 1
    else:
        known = int(group.max()) + 1 if len(group) else 0
    num_groups = known if num_groups is None else num_groups
    if len(group) != len(x) or (len(group) and not 0 <= int(group.min()) <= int(group.max()) < num_groups):
        raise InputError(
            f"group must have one entry in 0..num_groups - 1 = 0..{num_groups - 1} for each of the "
            f"{len(x)} observations, got {len(group)} from {group.min() if len(group) else '-'} to "
            f"{group.max() if len(group) else '-'}"
        )
    found = (
        Evidence.from_normals(guide.encoder(chunk)[0], group[place].to(chunk.device), num_groups)
        for place, chunk in _chunks(guide, x, batch_size)
    )
    return functools.reduce(operator.add, found)


def embed(guide: GroupedGuide, data: GroupedDataset) -> dict[str, np.ndarray]:
    """Content and style of every observation, and content of every group, as arrays.

    Returns:
        ``content_loc`` and ``content_scale`` of single observations ``[N, content]``, ``style_loc``
        and ``style_scale`` ``[N, style]``, ``group [N]``, an index into ``group_names [groups]``,
        ``group_content_loc`` and ``group_content_scale [groups, content]``, from all the observations
        of each group, and ``label [N]``, by name. Only groups that occur are among the names.

    >>> from pyro_mlvae import MLPEncoder, load_dataset
    >>> guide = ProductOfNormals(MLPEncoder((1, 8, 8), content_dim=2, style_dim=1))
    >>> arrays = embed(guide, load_dataset("digits"))
    >>> arrays["content_loc"].shape, arrays["group_content_loc"].shape
    ((1797, 2), (10, 2))
    """
    codes = encode(guide, data)
    present, group = torch.unique(data.group, return_inverse=True)
    # In float64, as evidence is: a group may have thousands of observations.
    expert = Normal(codes.expert.loc.double(), codes.expert.scale.double())
    of_groups = group_content(guide, expert, torch.arange(len(data)), group)
    normals = {"content": codes.content, "style": codes.style, "group_content": of_groups}
    arrays = {
        f"{name}_{part}": getattr(normal, part).to(codes.content.loc.dtype).cpu().numpy()
        for name, normal in normals.items()
        for part in ("loc", "scale")
    }
    return arrays | {
        "group": group.numpy(),
        "group_names": _names([data.group_names[i] for i in present.tolist()]),
        "label": _names(list(data.label_names))[data.label.numpy()],
    }


def device_of(module: torch.nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next(module.parameters()).device


def _chunks(
    guide: GroupedGuide, x: GroupedDataset | Tensor, batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """``x`` a piece at a time, where the guide is and in its dtype, with the place of each piece."""
    require_positive(batch_size=batch_size)
    if not len(x):
        raise InputError("x must hold at least one observation, got none: there is nothing to encode")
    like = next(guide.parameters())
    read = x.observations if isinstance(x, GroupedDataset) else x.__getitem__
    for start in range(0, len(x), batch_size):
        place = slice(start, start + batch_size)
        yield place, read(place).to(like)


def _concatenate(normals: tuple[Normal, ...]) -> Normal:
    return Normal(torch.cat([n.loc for n in normals]), torch.cat([n.scale for n in normals]))


def _names(names: list) -> np.ndarray:
    """Names as an array that can be saved without pickling: numbers if all are, text otherwise."""
    array = np.asarray(names)
    return array if array.ndim == 1 and array.dtype.kind in "iufb" else np.asarray(list(map(str, names)))
