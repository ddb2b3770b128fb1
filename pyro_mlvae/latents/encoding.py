"""What a trained guide says of observations, alone or together: content, style, evidence."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from pyro.distributions import Normal
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.estimators.programs import in_mode
from pyro_mlvae.guides import GroupedGuide, ThreeLevelGuide
from pyro_mlvae.ops import Evidence, mean_of, moments, normal_from_parameters

BATCH_SIZE = 4096


@dataclass(frozen=True, eq=False)
class Codes:
    """What the guide says of single observations.

    Attributes:
        features: all that the encoder says of each, ``[N, width]``.
        groups: the groups that they are in.
        content: the content posterior from each observation alone, batch shape ``[N]``: strategy 1.
        style: the style posterior of each observation, batch shape ``[N]``.
    """

    features: Tensor
    groups: Groups
    content: TorchDistributionMixin
    style: TorchDistributionMixin

    @property
    def loc(self) -> Tensor:
        """The locs of content and of style side by side, ``[N, content + style]``."""
        return torch.cat([mean_of(self.content), mean_of(self.style)], -1)

    @cached_property
    def content_normal(self) -> Normal:
        """A Normal, dimension by dimension, with the moments of ``content``."""
        return Normal(*moments(self.content))

    @cached_property
    def style_normal(self) -> Normal:
        """A Normal, dimension by dimension, with the moments of ``style``."""
        return Normal(*moments(self.style))


def experts(guide: GroupedGuide, codes: Codes) -> Normal:
    """What each observation alone says of its group's content: its factor of the product.

    A guide that multiplies no Normals has no such factors, and gives its content posterior of each
    observation instead.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> experts(guide, encode(guide, torch.zeros(5, 4))).loc.shape
    torch.Size([5, 2])
    """
    if guide.multiplies_normals or isinstance(guide, ThreeLevelGuide):
        factor = normal_from_parameters(guide.split(codes.features)[0])
        return Normal(factor.loc, factor.scale)
    return codes.content_normal


@torch.no_grad()
def encode(
    guide: GroupedGuide, x: GroupedDataset | Tensor, *, batch_size: int = BATCH_SIZE
) -> Codes:
    """Encode observations one by one, ``batch_size`` at a time, in evaluation mode.

    Args:
        guide: a trained guide.
        x: observations, ``[N, *event_shape]``, on any device, or a data set of them.
        batch_size: how many are on the guide's device at once.

    Returns:
        Posteriors on the guide's device. ``moments(codes.content)`` are their means and scales.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> encode(guide, torch.zeros(5, 4)).content.mean.shape
    torch.Size([5, 2])
    """
    with in_mode(guide, training=False):
        features = torch.cat([guide.encode(chunk) for _, chunk in _chunks(guide, x, batch_size)])
        like = next(guide.parameters())
        if isinstance(x, GroupedDataset):
            groups = x.groups().to(like.device, like.dtype)
        else:
            groups = Groups(torch.arange(len(x), device=like.device), len(x))
        return Codes(features, groups, *guide.codes(features, groups))


@torch.no_grad()
def group_content(
    guide: GroupedGuide, codes: Codes, index: Tensor | None = None, group: Tensor | None = None
) -> TorchDistributionMixin:
    """The content posterior of groups formed from observations already encoded: strategy 2.

    Args:
        guide: the guide that encoded them.
        codes: what :func:`encode` gave.
        index: which of them take part, ``[M]``; all by default.
        group: the group of each of those, ``[M]``, any whole numbers; by default their own.

    Returns:
        One distribution a group, in the order of their numbers, batch shape ``[groups]``.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> codes = encode(guide, torch.zeros(5, 4))
    >>> group_content(guide, codes, torch.arange(3), torch.tensor([0, 1, 1])).mean.shape
    torch.Size([2, 2])
    """
    device = codes.features.device
    if index is None:
        index = torch.arange(len(codes.features), device=device)
    index = index.to(device)
    group = codes.groups.group[index] if group is None else group.to(device)
    with in_mode(guide, training=False):
        return guide.checked_content(codes.features[index], codes.groups.regrouped(index, group))


@torch.no_grad()
def gather_evidence(
    guide: GroupedGuide,
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
        group: the group of each, int64 ``[N]``; by default those of the data set, or all of one
            group.
        num_groups: the number of groups, of which some may have no observation here; by default as
            many as the data set has, or as occur.
        batch_size: how many are on the guide's device at once.

    Returns:
        The evidence on the guide's device, in float64.

    Raises:
        InputError: there are no observations, ``group`` is not of their number, or outside
            0..num_groups - 1, or the guide's posterior is no product.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> x = torch.rand(5, 4)
    >>> apart = gather_evidence(guide, x[:2]) + gather_evidence(guide, x[2:])
    >>> together = gather_evidence(guide, x)
    >>> torch.allclose(guide.content_from(apart).mean, guide.content_from(together).mean)
    True
    """
    if group is None:
        group = x.group if isinstance(x, GroupedDataset) else torch.zeros(len(x), dtype=torch.int64)
        known = x.num_groups if isinstance(x, GroupedDataset) else 1
    else:
        known = int(group.max()) + 1 if len(group) else 0
    num_groups = known if num_groups is None else num_groups
    if len(group) != len(x) or (
        len(group) and not 0 <= int(group.min()) <= int(group.max()) < num_groups
    ):
        raise InputError(
            f"group must have one entry in 0..num_groups - 1 = 0..{num_groups - 1} for each of the "
            f"{len(x)} observations, got {len(group)} from {group.min() if len(group) else '-'} to "
            f"{group.max() if len(group) else '-'}"
        )
    with in_mode(guide, training=False):
        found = (
            guide.evidence(guide.encode(chunk), Groups(group[place].to(chunk.device), num_groups))
            for place, chunk in _chunks(guide, x, batch_size)
        )
        return functools.reduce(operator.add, found)


def device_of(module: torch.nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next(module.parameters()).device


def _chunks(
    guide: GroupedGuide, x: GroupedDataset | Tensor, batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """``x`` a piece at a time, on the guide's device and in its dtype, with its place."""
    require_positive(batch_size=batch_size)
    if not len(x):
        raise InputError(
            "x must hold at least one observation, got none: there is nothing to encode"
        )
    like = next(guide.parameters())
    read = x.observations if isinstance(x, GroupedDataset) else x.__getitem__
    for start in range(0, len(x), batch_size):
        place = slice(start, start + batch_size)
        yield place, read(place).to(like)
