"""The guide of three levels: evidence goes up from observations to super-groups, and down again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.ops import loc_and_log_variance, product_by_log_variance


class ThreeLevelGuide(GroupedGuide):
    """The guide of :class:`~pyro_mlvae.models.ThreeLevelMLVAE`::

        N(C; loc_G, scale_G^2)  ∝  prod_{i in G} N(C; loc_c(x_i), scale_c(x_i)^2)
        q(A_P | X_P)            ∝  N(A; 0, 1 - tau^2)  prod_{G in P} N(A; loc_G, scale_G^2 + tau^2)
        q(C_G | X_G, A_P)       ∝  N(C; A_P, tau^2)  N(C; loc_G, scale_G^2)
        q(S_i | x_i)            =  N(S; loc_s(x_i), scale_s(x_i)^2)

    A group's observations multiply to what they say of its content; that, blurred by tau, is what
    the group says of its super-group; and what all the groups say of it comes back to each as its
    prior. With the model's tau and the right encoder this is the exact posterior of a
    linear-Gaussian model.

    Args:
        encoder: from x to loc and log scale of content and of style.
        options: ``style_given_content``, ``content_dim``, ``style_dim`` and ``evidence``, as for
            :class:`GroupedGuide`; evidence is that of both contents.

    The guide has a tau of its own, which is learned. Groups whose super-groups are not known are
    taken for one super-group each, which is the product with the prior N(0, I) of a single content.

    >>> from pyro_mlvae import GroupedBatch, MLPEncoder
    >>> guide = ThreeLevelGuide(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> parent = torch.tensor([0, 0, 1])
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.arange(3), 3, parent=parent, num_parents=2)
    >>> features = guide.encode(batch.x)
    >>> guide.super_content_posterior(features, batch.groups).batch_shape
    torch.Size([2])
    >>> guide.content_posterior(features, batch.groups).batch_shape
    torch.Size([3])
    """

    within_logit: Tensor

    def __init__(self, encoder: nn.Module, **options: Any) -> None:
        super().__init__(encoder, **options)
        # Of tau^2, which starts where the model's does.
        self.within_logit = nn.Parameter(torch.full((self.content_dim,), 0.9).logit())

    def super_content_posterior(self, features: Tensor, groups: Groups) -> TorchDistributionMixin:
        """q(A_P | X_P): batch shape ``[num_parents]``, event shape ``[content]``."""
        return self._upwards(self._product(features, groups), groups).to_event(1)

    def content_given(
        self, group: dist.Normal, super_content: Float[Tensor, "*particles groups content"]
    ) -> dist.Normal:
        """q(C_G | X_G, A_P), batch shape ``[*particles, groups, content]``.

        Args:
            group: what the observations of each group say of its content.
            super_content: the content of each group's super-group.
        """
        share = self._share(group)
        return dist.Normal(
            super_content + share * (group.loc - super_content), share.sqrt() * group.scale
        )

    def content_posterior(self, features: Tensor, groups: Groups) -> TorchDistributionMixin:
        """q(C_G | X_P), from all the observations of the super-group."""
        if groups.parent is None:
            alone = torch.arange(groups.num_groups, device=groups.group.device)
            groups = replace(groups, parent=alone, num_parents=groups.num_groups)
        group, parent = self._product(features, groups), groups.super_groups()
        above = self._upwards(group, groups)
        given = self.content_given(group, above.loc.index_select(0, parent))
        # What is not known of the super-group widens what is known of its groups.
        passed_on = (1.0 - self._share(group)) * above.scale.index_select(0, parent)
        return dist.Normal(given.loc, torch.hypot(given.scale, passed_on)).to_event(1)

    def draw_content(
        self, features: Tensor, groups: Groups
    ) -> Float[Tensor, "*particles groups content"]:
        parent = groups.super_groups()
        group = self.of_evidence(self._product, features, groups)
        with pyro.plate("super-groups", groups.num_parents, dim=-1):
            super_content = pyro.sample("super_content", self._upwards(group, groups).to_event(1))
        with pyro.plate("groups", groups.num_groups, dim=-1):
            own = super_content.index_select(-2, parent)
            drawn: Tensor = pyro.sample("content", self.content_given(group, own).to_event(1))
        return drawn

    def _product(self, features: Tensor, groups: Groups) -> dist.Normal:
        experts = loc_and_log_variance(self.split(features)[0])
        return _normal(*product_by_log_variance(*experts, groups.group, groups.num_groups))

    def _upwards(self, group: dist.Normal, groups: Groups) -> dist.Normal:
        """q(A_P | X_P), from what the observations of each group say of its content."""
        within, between = self.within_logit.sigmoid(), (-self.within_logit).sigmoid()
        message = (group.variance + within).log()
        prior = (torch.zeros_like(between), between.log())
        parent, num_parents = groups.super_groups(), groups.num_parents
        return _normal(
            *product_by_log_variance(group.loc, message, parent, num_parents, prior=prior)
        )

    def _share(self, group: dist.Normal) -> Tensor:
        """How much of a group's content its own observations decide, not its super-group."""
        within = self.within_logit.sigmoid()
        return within / (within + group.variance)


def _normal(loc: Tensor, log_variance: Tensor) -> dist.Normal:
    return dist.Normal(loc, (0.5 * log_variance).exp())
