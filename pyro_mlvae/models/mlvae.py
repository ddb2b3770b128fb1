"""The Multi-Level VAE: two levels of latents, one a group and one an observation."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.likelihoods import Likelihood


class MLVAE(PyroModule):
    """The generative model of the Multi-Level VAE::

        C_G ~ N(0, I)                        one per group           site "content"
        S_i ~ N(0, I)                        one per observation     site "style"
        x_i ~ p(x | C_G, S_i; theta)         decoder network         site "x"

    Args:
        decoder: from ``content [..., N, content]`` and ``style [..., N, style]`` to as many tensors
            ``[..., N, *event_shape]`` as the likelihood has parameters.
        likelihood: from those tensors to the distribution of x.
        content_dim: size of content.
        style_dim: size of style.

    Each conditional of the story is a method, and a model that differs in one overrides that one.

    Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.tensor([0, 0, 1]), num_groups=2)
    >>> trace = pyro.poutine.trace(model).get_trace(batch)
    >>> trace.nodes["content"]["value"].shape, trace.nodes["style"]["value"].shape
    (torch.Size([2, 2]), torch.Size([3, 1]))
    """

    _zero: Tensor

    def __init__(
        self, decoder: nn.Module, likelihood: Likelihood, content_dim: int, style_dim: int
    ) -> None:
        require_positive(content_dim=content_dim, style_dim=style_dim)
        # The name keeps the model's parameters apart from the guide's in Pyro's parameter store.
        super().__init__(name="model")
        self.decoder = decoder
        self.likelihood = likelihood
        self.content_dim = content_dim
        self.style_dim = style_dim
        # A buffer, so that the priors are wherever, and in whatever dtype, the module is.
        self.register_buffer("_zero", torch.zeros(()), persistent=False)

    def content_prior(self, groups: Groups) -> TorchDistributionMixin:
        """p(C): event shape ``[content]``, batch shape ``[]`` or ``[num_groups]``.

        ``groups`` is there for models whose prior depends on a field of the groups.
        """
        return dist.Normal(self._zero, 1.0).expand([self.content_dim]).to_event(1)

    def style_prior(self, groups: Groups) -> TorchDistributionMixin:
        """p(S): event shape ``[style]``, batch shape ``[]`` or ``[N]``."""
        return dist.Normal(self._zero, 1.0).expand([self.style_dim]).to_event(1)

    def observation(
        self, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch2 style"]
    ) -> TorchDistributionMixin:
        """p(x | C, S), event shape that of one observation; leading dimensions broadcast."""
        observation = self.likelihood(*self.decoder(content, style))
        batch_ndim = max(content.ndim, style.ndim) - 1
        return observation.to_event(len(observation.batch_shape) - batch_ndim)

    def draw_content(self, batch: GroupedBatch) -> Float[Tensor, "*particles groups content"]:
        """The story of ``batch`` as far as the content of its groups, in Pyro."""
        with pyro.plate("groups", batch.num_groups, dim=-1):
            content: Tensor = pyro.sample("content", self.content_prior(batch.groups))
        return content

    def forward(self, batch: GroupedBatch) -> None:
        """The story of ``batch``, in Pyro."""
        content = self.draw_content(batch)
        with pyro.plate("observations", len(batch), dim=-1):
            style = pyro.sample("style", self.style_prior(batch.groups))
            # index_select, not content[..., group, :], whose backward is not deterministic.
            own_content = content.index_select(-2, batch.group)
            observation = self.observation(own_content, style)
            if observation.event_shape != batch.event_shape:
                raise InputError(
                    f"x must hold observations of shape {list(observation.event_shape)}, which the "
                    f"decoder makes, got {list(batch.event_shape)}"
                )
            pyro.sample("x", observation, obs=batch.x)
