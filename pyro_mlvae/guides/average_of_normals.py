"""The guide of the group-based VAE: a group's content is the average of its observations' Normals."""

from __future__ import annotations

from pyro import distributions as dist
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.ops.normals import sum_by_group


class AverageOfNormals(GroupedGuide):
    """The guide of the group-based VAE (GVAE)::

        q(C_G | X_G) = N(C; mean over i in G of loc_c(x_i), mean over i in G of scale_c(x_i)^2)
        q(S_i | x_i) = N(S; loc_s(x_i), scale_s(x_i))

    Every observation has the same say, and a group of many is no more certain of its content than one
    of few: unlike the product's, the average's scale does not fall with the number of observations.

    Args:
        encoder: from x to the Normals of content and of style, one of each an observation.
        style_given_content: makes style depend on content, see :class:`GroupedGuide`.

    Reference: Hosoya (2019), arXiv 1809.02383.

    >>> import torch
    >>> from pyro_mlvae import MLPEncoder
    >>> guide = AverageOfNormals(MLPEncoder((4,), content_dim=1, style_dim=1))
    >>> experts = dist.Normal(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [3.0]]))
    >>> batch = GroupedBatch(torch.zeros(2, 4), torch.tensor([0, 0]), num_groups=1)
    >>> average = guide.aggregate(experts, batch)
    >>> average.loc, average.variance
    (tensor([[2.]]), tensor([[5.]]))
    """

    def aggregate(self, content: dist.Normal, batch: GroupedBatch) -> dist.Normal:
        """The mean of the locs and of the variances over the observations of each group."""

        def mean(values: Tensor) -> Tensor:
            return sum_by_group(values, batch.group, batch.num_groups) / batch.sizes.unsqueeze(-1)

        return dist.Normal(mean(content.loc), mean(content.variance).sqrt())
