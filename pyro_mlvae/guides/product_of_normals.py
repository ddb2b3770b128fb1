"""The paper's guide: a group's content is the product of its observations' Normals."""

from __future__ import annotations

from typing import Any

import torch
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.ops import (
    Evidence,
    LogVarianceNormal,
    loc_and_log_variance,
    normal_from_parameters,
    product_by_log_variance,
)


class ProductOfNormals(GroupedGuide):
    """The guide of the Multi-Level VAE::

        q(C_G | X_G) ∝ [N(C; 0, I)]  prod_{i in G} N(C; loc_c(x_i), scale_c(x_i))
        q(S_i | x_i) = N(S; loc_s(x_i), scale_s(x_i))

    Args:
        encoder: from x to loc and log scale of content and of style.
        prior_expert: whether the prior N(0, I) takes part in every product, as one more expert. The
            paper's product has none; the exact posterior of a group has one.
        options: ``style_given_content``, ``content_dim``, ``style_dim`` and ``evidence``, as for
            :class:`GroupedGuide`.

    Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841.

    >>> from pyro_mlvae import GroupedBatch, MLPEncoder
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.tensor([0, 0, 1]), num_groups=2)
    >>> posterior = guide.content_posterior(guide.encode(batch.x), batch.groups)
    >>> posterior.batch_shape, posterior.event_shape
    (torch.Size([2]), torch.Size([2]))
    """

    _zero: Tensor

    def __init__(self, encoder: nn.Module, *, prior_expert: bool = False, **options: Any) -> None:
        super().__init__(encoder, **options)
        self.prior_expert = prior_expert
        # A buffer, so that the prior is wherever, and in whatever dtype, the module is.
        self.register_buffer("_zero", torch.zeros(()), persistent=False)

    def content_posterior(self, features: Tensor, groups: Groups) -> TorchDistributionMixin:
        """The product of each group's Normals; see :func:`~pyro_mlvae.ops.product_of_normals`."""
        experts = loc_and_log_variance(self.split(features)[0])
        zero = self._zero.to(experts[0].dtype).expand(self.content_dim)
        prior = (zero, zero) if self.prior_expert else None
        product = product_by_log_variance(*experts, groups.group, groups.num_groups, prior=prior)
        return LogVarianceNormal(*product).to_event(1)

    @property
    def multiplies_normals(self) -> bool:
        """Unless a subclass has a posterior of its own, such as a flow over the product."""
        return type(self).content_posterior is ProductOfNormals.content_posterior

    def evidence(self, features: Tensor, groups: Groups) -> Evidence:
        """What the observations say of their groups' content, in float64, without the prior."""
        if not self.multiplies_normals:
            return super().evidence(features, groups)
        experts = normal_from_parameters(self.split(features)[0])
        return Evidence.from_normals(experts, groups.group, groups.num_groups)

    def content_from(self, evidence: Evidence) -> TorchDistributionMixin:
        """q(C_G | X_G) of groups whose observations are known only by their accumulated evidence.

        Args:
            evidence: what :meth:`evidence` has found, in one go or many.

        Returns:
            One Normal a group, batch shape ``[groups]``, event shape ``[content]``, in float64.

        Raises:
            InputError: a group has no evidence, and the guide has no prior expert to fall back on.
        """
        zero = self._zero.double().expand(evidence.precision.shape[-1])
        posterior = evidence.posterior(dist.Normal(zero, zero + 1.0) if self.prior_expert else None)
        return dist.Normal(posterior.loc, posterior.scale).to_event(1)
