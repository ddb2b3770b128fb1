"""The paper's guide: a group's content is the product of its observations' Normals."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.ops.distributions import StandardNormal, product
from pyro_mlvae.ops.evidence import Evidence
from pyro_mlvae.guides.base import GroupedGuide


class ProductOfNormals(GroupedGuide):
    """The guide of the Multi-Level VAE::

        q(C_G | X_G) ∝ [N(C; 0, I)]  prod_{i in G} N(C; loc_c(x_i), scale_c(x_i))
        q(S_i | x_i) = N(S; loc_s(x_i), scale_s(x_i))

    Args:
        encoder: from x to the Normals of content and of style, one of each an observation.
        prior_expert: whether the prior N(0, I) takes part in every product, as one more expert. The
            paper's product has none; the exact posterior of a group has one.
        style_given_content: makes style depend on content, see :class:`GroupedGuide`.

    Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841.

    >>> from pyro_mlvae import MLPEncoder
    >>> guide = ProductOfNormals(MLPEncoder((4,), content_dim=2, style_dim=1))
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.tensor([0, 0, 1]), num_groups=2)
    >>> guide.content_posterior(batch).batch_shape
    torch.Size([2, 2])
    """

    _origin: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        prior_expert: bool = False,
        style_given_content: nn.Module | None = None,
    ) -> None:
        super().__init__(encoder, style_given_content=style_given_content)
        self.prior_expert = prior_expert
        self.register_buffer("_origin", torch.zeros(()), persistent=False)

    def aggregate(self, content: dist.Normal, batch: GroupedBatch) -> dist.Normal:
        """The product over the observations of each group; see :func:`~pyro_mlvae.product_of_normals`."""
        prior = None
        if self.prior_expert:
            prior = StandardNormal(self._origin.expand(content.loc.shape[-1]))
        return product(content, batch.group, batch.num_groups, prior=prior)

    def content_from(self, evidence: Evidence) -> dist.Normal:
        """q(C_G | X_G) of groups whose observations are known only by their accumulated evidence.

        Args:
            evidence: what :func:`pyro_mlvae.latents.encoding.gather_evidence` has found, in one go or many.

        Returns:
            One Normal a group, batch shape ``[groups, content]``, in float64.

        Raises:
            InputError: a group has no evidence, and the guide has no prior expert to fall back on.
        """
        zero = self._origin.double().expand(evidence.precision.shape[-1])
        posterior = evidence.posterior(dist.Normal(zero, zero + 1.0) if self.prior_expert else None)
        return dist.Normal(posterior.loc, posterior.scale)
