"""The guide of the group-based VAE: content is the average of a group's Normals."""

from __future__ import annotations

from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.ops import normal_from_parameters, sum_by_group


class AverageOfNormals(GroupedGuide):
    """The guide of the group-based VAE (GVAE)::

        q(C_G | X_G) = N(C; mean over i in G of loc_c(x_i), mean over i in G of scale_c(x_i)^2)
        q(S_i | x_i) = N(S; loc_s(x_i), scale_s(x_i))

    Every observation counts the same, and a group of many is no more certain of its content than
    one of few: unlike the product's, the average's scale does not fall with the number of
    observations.

    Args:
        encoder: from x to loc and log scale of content and of style.
        style_given_content: makes style depend on content, see :class:`GroupedGuide`, and so is the
            rest.

    Reference: Hosoya (2019), arXiv 1809.02383.

    >>> import torch
    >>> from pyro_mlvae import GroupedBatch, MLPEncoder
    >>> guide = AverageOfNormals(MLPEncoder((4,), content_dim=1, style_dim=1))
    >>> batch = GroupedBatch(torch.zeros(2, 4), torch.tensor([0, 0]), num_groups=1)
    >>> features = torch.tensor([[0.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]])
    >>> average = guide.content_posterior(features, batch.groups)
    >>> average.mean, average.variance
    (tensor([[2.]]), tensor([[1.]]))
    """

    def content_posterior(self, features: Tensor, groups: Groups) -> TorchDistributionMixin:
        content = normal_from_parameters(self.split(features)[0])
        sizes = groups.sizes.unsqueeze(-1)

        def mean(values: Tensor) -> Tensor:
            return sum_by_group(values, groups.group, groups.num_groups) / sizes

        return dist.Normal(mean(content.loc), mean(content.variance).sqrt()).to_event(1)
