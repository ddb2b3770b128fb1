"""Guides of pairs that share some unknown dimensions of one latent: Ada-ML-VAE and Ada-GVAE."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import InputError
from pyro_mlvae.guides.vae import VAEGuide
from pyro_mlvae.ops import LogVarianceNormal, loc_and_log_variance
from pyro_mlvae.ops.pairs import average_of_two, partners, product_of_two, shared_dimensions


class AdaptiveGuide(VAEGuide):
    """What both guides of pairs have in common; the model is :class:`~pyro_mlvae.models.VAE`::

        z_i = (C_i, S_i),   q(z_i | x_i) = N(loc_i, scale_i)            of each observation
        d is shared by a pair where KL(q(z_1d | x_1) || q(z_2d | x_2)) is below the middle of their
        range q(z_d | x_1, x_2) = pooled of q(z_1d | x_1) and q(z_2d | x_2)   where d is shared

    There is one latent, z, whose two parts keep the names that they have in the VAE: which
    dimensions a pair shares is inferred, pair by pair, over both parts. In training the
    observations of a group are paired as they come, so that ``observations_per_group=2`` gives one
    pair a group; one that is left over is alone. At test time each observation is by itself. It is
    an ELBO of the VAE whatever is shared.

    Args:
        encoder: from x to loc and log scale of both parts of z.
        options: ``content_dim`` and ``style_dim``, the sizes of the two parts, as for
            :class:`GroupedGuide`. Its other options are not for this guide.

    Raises:
        InputError: an option is not for this guide.
    """

    def __init__(self, encoder: nn.Module, **options: Any) -> None:
        super().__init__(encoder, **options)
        if self.style_given_content is not None or self.random_part:
            raise InputError(
                "style_given_content and evidence are not for guides of pairs, whose latent is one "
                "and whose evidence is the pair: leave them out"
            )

    @abstractmethod
    def pooled(
        self, loc: Tensor, log_variance: Tensor, other_loc: Tensor, other_log_variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loc and log variance of a shared dimension, from those of the two observations."""

    def of_pairs(
        self, features: Tensor, groups: Groups
    ) -> tuple[LogVarianceNormal, LogVarianceNormal]:
        """q(z_i | x_1, x_2) of every observation: ``[N, content]`` and ``[N, style]``."""
        content, style = (loc_and_log_variance(part) for part in self.split(features))
        loc = torch.cat([content[0], style[0]], -1)
        log_variance = torch.cat([content[1], style[1]], -1)
        partner = partners(groups.group, groups.num_groups)
        others = loc.index_select(0, partner), log_variance.index_select(0, partner)
        pooled_loc, pooled_log_variance = self.pooled(loc, log_variance, *others)
        shared = shared_dimensions(loc, log_variance, partner)
        loc = torch.where(shared, pooled_loc, loc)
        log_variance = torch.where(shared, pooled_log_variance, log_variance)
        first, second = slice(self.content_dim), slice(self.content_dim, None)
        return (
            LogVarianceNormal(loc[:, first], log_variance[:, first]),
            LogVarianceNormal(loc[:, second], log_variance[:, second]),
        )

    def forward(self, batch: GroupedBatch) -> Tensor:
        """Draw both parts of every observation's latent, in Pyro; in training, given its pair."""
        if not self.training:
            return super().forward(batch)
        features = self.encode(batch.x)
        content, style = self.of_pairs(features, batch.groups)
        with pyro.plate("groups", len(batch), dim=-1):
            pyro.sample("content", content.to_event(1))
        with pyro.plate("observations", len(batch), dim=-1):
            pyro.sample("style", style.to_event(1))
        return features


class AdaMLVAEGuide(AdaptiveGuide):
    """The guide of Ada-ML-VAE: shared dimensions are the product of the pair's Normals, see
    :class:`AdaptiveGuide`.

    Reference: Locatello et al. (2020), arXiv 2002.02886.

    >>> from pyro_mlvae import GroupedBatch, MLPEncoder
    >>> guide = AdaMLVAEGuide(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> groups = GroupedBatch(torch.zeros(2, 4), torch.tensor([0, 0]), num_groups=1).groups
    >>> features = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [2.0, 9.0, 0.0, 0.0, 0.0, 0.0]])
    >>> content, style = guide.of_pairs(features, groups)
    >>> content.loc, content.variance
    (tensor([[1., 0.],
            [1., 9.]]), tensor([[0.5000, 1.0000],
            [0.5000, 1.0000]]))
    """

    pooled = staticmethod(product_of_two)


class AdaGVAEGuide(AdaptiveGuide):
    """The guide of Ada-GVAE: shared dimensions are the average of the pair's Normals, see
    :class:`AdaptiveGuide`.

    Reference: Locatello et al. (2020), arXiv 2002.02886.

    >>> from pyro_mlvae import MLPEncoder
    >>> guide = AdaGVAEGuide(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> guide.pooled(torch.zeros(1), torch.zeros(1), torch.tensor([2.0]), torch.zeros(1))
    (tensor([1.]), tensor([0.]))
    """

    pooled = staticmethod(average_of_two)
