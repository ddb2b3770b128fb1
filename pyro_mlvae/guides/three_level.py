"""The guide of three levels: evidence goes up from observations to super-groups, and down again."""

from __future__ import annotations

import pyro
import torch
from jaxtyping import Float
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.ops.distributions import StandardNormal, product
from pyro_mlvae.guides.base import GroupedGuide


class ThreeLevelGuide(GroupedGuide):
    """The guide of :class:`~pyro_mlvae.models.ThreeLevelMLVAE`::

        N(C; loc_G, scale_G^2)  ∝  prod_{i in G} N(C; loc_c(x_i), scale_c(x_i)^2)
        q(A_P | X_P)            ∝  N(A; 0, 1 - tau^2)  prod_{G in P} N(A; loc_G, scale_G^2 + tau^2)
        q(C_G | X_G, A_P)       ∝  N(C; A_P, tau^2)  N(C; loc_G, scale_G^2)
        q(S_i | x_i)            =  N(S; loc_s(x_i), scale_s(x_i)^2)

    A group's observations multiply to what they say of its content; that, blurred by tau, is what the
    group says of its super-group; and what all the groups say of it comes back to each as its prior. With
    the model's tau and the right encoder this is the exact posterior of a linear-Gaussian model.

    Args:
        encoder: from x to the Normals of content and of style, one of each an observation, with the
            attribute ``content_dim``.
        style_given_content: makes style depend on content, see :class:`GroupedGuide`.

    The guide has a tau of its own, which is learned. A group whose super-group is not known has
    :meth:`aggregate`, the product with the prior N(0, I) of a single content.

    >>> from pyro_mlvae import MLPEncoder
    >>> guide = ThreeLevelGuide(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> parent = torch.tensor([0, 0, 1])
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.arange(3), 3, parent=parent, num_parents=2)
    >>> guide.super_content_posterior(batch).batch_shape, guide.content_posterior(batch).batch_shape
    (torch.Size([2, 2]), torch.Size([3, 2]))
    """

    within_logit: Tensor

    def __init__(self, encoder: nn.Module, *, style_given_content: nn.Module | None = None) -> None:
        super().__init__(encoder, style_given_content=style_given_content)
        # Of tau^2, which starts where the model's does.
        start = torch.full((int(encoder.content_dim),), 0.9)  # type: ignore[arg-type]
        self.within_logit = nn.Parameter(start.logit())

    def aggregate(self, content: dist.Normal, batch: GroupedBatch) -> dist.Normal:
        """The product over the observations of each group, with the prior as one more expert."""
        prior = StandardNormal(torch.zeros_like(self.within_logit))
        return product(content, batch.group, batch.num_groups, prior=prior)

    def super_content_posterior(self, batch: GroupedBatch) -> dist.Normal:
        """q(A_P | X_P), batch shape ``[num_parents, content]``."""
        return self._upwards(self._product(self.encoder(batch.x)[0], batch), batch)

    def content_given(
        self, group: dist.Normal, super_content: Float[Tensor, "*particles groups content"]
    ) -> dist.Normal:
        """q(C_G | X_G, A_P), batch shape ``[*particles, groups, content]``.

        Args:
            group: what the observations of each group say of its content.
            super_content: the content of each group's super-group.
        """
        share = self._share(group)
        return dist.Normal(super_content + share * (group.loc - super_content), share.sqrt() * group.scale)

    def content_posterior(self, batch: GroupedBatch) -> dist.Normal:
        """q(C_G | X_P), from all the observations of the super-group: ``[num_groups, content]``."""
        content, _ = self.encoder(batch.x)
        if batch.parent is None:
            return self.aggregate(content, batch)
        group = self._product(content, batch)
        above = self._upwards(group, batch)
        given = self.content_given(group, above.loc.index_select(-2, batch.parent))
        # What is not known of the super-group widens what is known of its groups.
        passed_on = (1.0 - self._share(group)) * above.scale.index_select(-2, batch.parent)
        return dist.Normal(given.loc, torch.hypot(given.scale, passed_on))

    def draw_content(
        self, content: dist.Normal, batch: GroupedBatch
    ) -> Float[Tensor, "*particles groups content"]:
        parent = batch.super_groups()
        group = self._product(content, batch)
        with pyro.plate("super-groups", batch.num_parents, dim=-1):
            super_content = pyro.sample("super_content", self._upwards(group, batch).to_event(1))
        with pyro.plate("groups", batch.num_groups, dim=-1):
            own = super_content.index_select(-2, parent)
            drawn: Tensor = pyro.sample("content", self.content_given(group, own).to_event(1))
        return drawn

    def _product(self, content: dist.Normal, batch: GroupedBatch) -> dist.Normal:
        return product(content, batch.group, batch.num_groups)

    def _upwards(self, group: dist.Normal, batch: GroupedBatch) -> dist.Normal:
        """q(A_P | X_P), from what the observations of each group say of its content."""
        within, between = self.within_logit.sigmoid().sqrt(), (-self.within_logit).sigmoid().sqrt()
        message = dist.Normal(group.loc, torch.hypot(group.scale, within))
        prior = dist.Normal(torch.zeros_like(between), between)
        return product(message, batch.super_groups(), batch.num_parents, prior=prior)

    def _share(self, group: dist.Normal) -> Tensor:
        """How much of a group's content its own observations decide; its super-group decides the rest."""
        within = self.within_logit.sigmoid()
        return within / (within + group.variance)
