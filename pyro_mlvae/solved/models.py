"""The solved models: linear and Gaussian, so that evidence and posteriors are known exactly."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from pyro_mlvae.likelihoods import NormalLikelihood
from pyro_mlvae.models.mlvae import MLVAE
from pyro_mlvae.models.three_level import ThreeLevelMLVAE
from pyro_mlvae.solved.three_level import ThreeLevelGaussian
from pyro_mlvae.solved.two_level import LinearGaussian


class LinearGaussianModel(MLVAE):
    """The solved model in Pyro, with its parameters frozen::

        C_G ~ N(0, I)
        S_i ~ N(0, I)
        x_i ~ N(b + W C_G + V S_i, noise_scale^2 I)

    Args:
        solved: its parameters; ``solved.log_evidence(batch)`` is the truth to compare with.

    >>> import torch
    >>> model = LinearGaussianModel(LinearGaussian.orthogonal(dim=6, content_dim=2, style_dim=1))
    >>> model.observation(torch.zeros(5, 2).double(), torch.zeros(5, 1).double()).event_shape
    torch.Size([6])
    """

    def __init__(self, solved: LinearGaussian) -> None:
        dims = solved.content_loading.shape[1], solved.style_loading.shape[1]
        super().__init__(LinearDecoder(solved), NormalLikelihood(solved.noise_scale), *dims)
        self.to(solved.offset.dtype)


class ThreeLevelGaussianModel(ThreeLevelMLVAE):
    """The solved model of three levels in Pyro, with its parameters frozen::

        A_P ~ N(0, 1 - tau^2)
        C_G ~ N(A_P, tau^2)
        S_i ~ N(0, I)
        x_i ~ N(b + W C_G + V S_i, noise_scale^2 I)

    Args:
        solved: its parameters; ``solved.log_evidence(batch)`` is the truth to compare with.

    >>> import torch
    >>> model = ThreeLevelGaussianModel(ThreeLevelGaussian.orthogonal())
    >>> model.within_scale
    tensor([0.3000, 0.6000, 0.9000], dtype=torch.float64)
    """

    def __init__(self, solved: ThreeLevelGaussian) -> None:
        two_level = solved.two_level
        dims = two_level.content_loading.shape[1], two_level.style_loading.shape[1]
        likelihood = NormalLikelihood(two_level.noise_scale)
        super().__init__(LinearDecoder(two_level), likelihood, *dims)
        self.to(solved.within_scale.dtype)
        # A buffer: Pyro would train any parameter that it meets, frozen or not.
        del self.within_logit
        self.register_buffer("within_logit", solved.within_scale.square().logit())


class LinearDecoder(nn.Module):
    """The mean of x: affine in content and in style."""

    content_loading: Tensor
    style_loading: Tensor
    offset: Tensor

    def __init__(self, solved: LinearGaussian) -> None:
        super().__init__()
        self.register_buffer("content_loading", solved.content_loading)
        self.register_buffer("style_loading", solved.style_loading)
        self.register_buffer("offset", solved.offset)

    def forward(
        self, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch2 style"]
    ) -> tuple[Tensor]:
        """The mean of x, ``[*batch, dim]``, as a tuple of one."""
        return (self.offset + content @ self.content_loading.mT + style @ self.style_loading.mT,)
