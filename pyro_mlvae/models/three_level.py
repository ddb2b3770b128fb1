"""Three levels: observations in groups in super-groups, such as drawings, characters, alphabets."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.likelihoods import Likelihood
from pyro_mlvae.models.mlvae import MLVAE


class ThreeLevelMLVAE(MLVAE):
    """The Multi-Level VAE with one level more::

        A_P ~ N(0, 1 - tau^2)              one per super-group     site "super_content"
        C_G ~ N(A_P, tau^2)                one per group           site "content"
        S_i ~ N(0, I)                      one per observation     site "style"
        x_i ~ p(x | C_G, S_i; theta)       decoder network         site "x"

    A super-group's content is the centre around which the contents of its groups lie. By itself a
    group's content is N(0, I), as in :class:`MLVAE`, which is the case tau = 1. How much the groups
    of a super-group share is learned, dimension by dimension: 1 - tau^2 is the correlation of their
    contents.

    Args:
        decoder: as for :class:`MLVAE`, and so are the rest.
        likelihood: from the decoder's outputs to the distribution of x.
        content_dim: size of content.
        style_dim: size of style.

    Raises:
        InputError: when it is run, the batch has no super-groups.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = ThreeLevelMLVAE(MLPDecoder((4,), 2, 1), NormalLikelihood(), 2, 1)
    >>> parent = torch.tensor([0, 0, 1])
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.arange(3), 3, parent=parent, num_parents=2)
    >>> nodes = pyro.poutine.trace(model).get_trace(batch).nodes
    >>> [nodes[site]["value"].shape[0] for site in ("super_content", "content", "style")]
    [2, 3, 3]
    """

    within_logit: Tensor

    def __init__(
        self, decoder: nn.Module, likelihood: Likelihood, content_dim: int, style_dim: int
    ) -> None:
        super().__init__(decoder, likelihood, content_dim, style_dim)
        # Of tau^2, which starts at 0.9, near the model of two levels.
        self.within_logit = nn.Parameter(torch.full((content_dim,), 0.9).logit())

    @property
    def within_scale(self) -> Float[Tensor, " content"]:
        """tau, the scale of groups' contents around their super-group's."""
        return self.within_logit.sigmoid().sqrt()

    def super_content_prior(self) -> TorchDistributionMixin:
        """p(A), event shape ``[content]``."""
        return dist.Normal(self._zero, (-self.within_logit).sigmoid().sqrt()).to_event(1)

    def content_given(
        self, super_content: Float[Tensor, "*batch content"]
    ) -> TorchDistributionMixin:
        """p(C | A), event shape ``[content]``; :meth:`content_prior` is p(C), by itself."""
        return dist.Normal(super_content, self.within_scale).to_event(1)

    def draw_content(self, batch: GroupedBatch) -> Float[Tensor, "*particles groups content"]:
        parent = batch.super_groups()
        with pyro.plate("super-groups", batch.num_parents, dim=-1):
            super_content = pyro.sample("super_content", self.super_content_prior())
        with pyro.plate("groups", batch.num_groups, dim=-1):
            own = super_content.index_select(-2, parent)
            content: Tensor = pyro.sample("content", self.content_given(own))
        return content
