r"""A grouped model whose posterior is no Normal, with an evidence that is known by quadrature.

.. math::
    C_G &\sim \sum_j \pi_j N(m_j, s_j^2), \qquad S_i \sim N(0, I) \\
    x_i &= \sum_d B_d C_G^d + V S_i + \sigma \epsilon_i, \qquad \epsilon_i \sim N(0, I)

Content is one number, style and noise are integrated out, so the evidence of a group is one
integral. Where x tells :math:`C^2` well and C itself badly, the posterior has two modes: no guide
of Normals is right, and estimators can be compared where the ELBO's gap does not close.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyro.distributions as dist
import torch
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import LowRankMultivariateNormal

from pyro_mlvae.data import GroupedBatch
from pyro_mlvae.data.generated import orthogonal_loadings
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import InputError
from pyro_mlvae.likelihoods import NormalLikelihood
from pyro_mlvae.models.mlvae import MLVAE
from pyro_mlvae.ops.normals import sum_by_group

# Points of the quadrature, and how many scales past the outermost components they reach. The
# trapezoid rule is exact to rounding as long as steps are below the posterior's scale: here 0.003
# to 0.03.
_POINTS, _REACH = 6001, 9.0


@dataclass(frozen=True, eq=False)
class PolynomialMixture:
    """Parameters of the model, and its evidence by quadrature.

    Attributes:
        weights: pi, ``[components]``, which sum to one.
        locs: m, ``[components]``.
        scales: s, ``[components]``.
        content_loading: B, ``[dim, degree]``: what each power of content, from the first, adds to
            x.
        style_loading: V, ``[dim, style_dim]``.
        noise_scale: standard deviation of the noise.

    Use :meth:`bimodal`.

    Raises:
        InputError: weights, locs and scales are not of one length, or no weights, scales or noise.

    >>> solved = PolynomialMixture.bimodal()
    >>> batch = solved.sample(torch.tensor([1, 3]), seed=1)
    >>> solved.log_evidence(batch).shape
    torch.Size([2])
    """

    weights: Float[Tensor, " components"]
    locs: Float[Tensor, " _"]  # of the same length, which is checked below
    scales: Float[Tensor, " _"]
    content_loading: Float[Tensor, "dim degree"]
    style_loading: Float[Tensor, "dim style"]
    noise_scale: float

    def __post_init__(self) -> None:
        shapes = [tuple(value.shape) for value in (self.weights, self.locs, self.scales)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1:
            raise InputError(
                f"weights, locs and scales must be vectors of one length, got {shapes}"
            )
        if not (bool((self.weights > 0.0).all()) and abs(float(self.weights.sum()) - 1.0) < 1e-6):
            raise InputError(
                f"weights must be positive and sum to one, got {self.weights.tolist()}"
            )
        if not (bool((self.scales > 0.0).all()) and self.noise_scale > 0.0):
            raise InputError(
                f"scales and noise_scale must be positive, got {self.scales.tolist()} and "
                f"{self.noise_scale}"
            )

    @classmethod
    def bimodal(
        cls, dim: int = 8, style_dim: int = 2, *, sign: float = 0.1, noise_scale: float = 0.5,
        seed: int = 0, dtype: torch.dtype = torch.float64,
    ) -> PolynomialMixture:  # fmt: skip
        """Contents around -1.5 and 1.5: x tells the square, and the sign ``sign`` times as well."""
        loading, style_loading, _ = orthogonal_loadings(dim, 2, style_dim, seed=seed, dtype=dtype)
        locs = torch.tensor([-1.5, 1.5], dtype=dtype)
        scale = loading.new_tensor([sign, 0.5])
        half = torch.full_like(locs, 0.5)
        return cls(half, locs, 0.8 * half, loading * scale, style_loading, noise_scale)

    def prior(self) -> TorchDistributionMixin:
        """p(C), event shape ``[1]``."""
        normals = dist.Normal(self.locs.unsqueeze(-1), self.scales.unsqueeze(-1)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(probs=self.weights), normals)

    def mean(
        self, content: Float[Tensor, "*batch one"], style: Float[Tensor, "*batch2 style"]
    ) -> Float[Tensor, "*batch dim"]:
        """The mean of x given content and style."""
        return self._curve(content) + style @ self.style_loading.mT

    def _curve(self, content: Float[Tensor, "*batch one"]) -> Float[Tensor, "*batch dim"]:
        powers = torch.arange(1, self.content_loading.shape[1] + 1, device=content.device)
        return content**powers @ self.content_loading.mT

    def sample(self, sizes: Tensor, *, seed: int = 0) -> GroupedBatch:
        """Draw one group of each of the given sizes from the model."""
        generator = torch.Generator().manual_seed(seed)
        group = torch.repeat_interleave(torch.arange(len(sizes)), sizes)

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=self.locs.dtype)

        component = torch.multinomial(
            self.weights, len(sizes), replacement=True, generator=generator
        )
        content = self.locs[component] + self.scales[component] * noise(len(sizes))
        style = noise(len(group), self.style_loading.shape[1])
        x = self.mean(content[group].unsqueeze(-1), style)
        return GroupedBatch(x + self.noise_scale * noise(*x.shape), group, len(sizes))

    def log_evidence(self, batch: GroupedBatch) -> Float[Tensor, " groups"]:
        r"""The :math:`\log p(X_G)` of each group, in nats, by the trapezoid rule."""
        points, log_joint = self.log_joint(batch)
        return log_joint.logsumexp(-1) + (points[1] - points[0]).log()

    def log_joint(self, batch: GroupedBatch) -> tuple[Float[Tensor, " points"], Tensor]:
        """Points of content, evenly spaced, and log p(X_G, C) there, ``[groups, points]``."""
        reach = _REACH * self.scales
        low, high = float((self.locs - reach).min()), float((self.locs + reach).max())
        points = torch.linspace(low, high, _POINTS, dtype=self.locs.dtype, device=self.locs.device)
        curve = self._curve(points.unsqueeze(-1))
        # p(x | C), without style: x enters the exponent linearly and by its own square alone.
        variance = self.locs.new_full((len(self.style_loading),), self.noise_scale**2)
        zero = torch.zeros_like(variance)
        given_zero = LowRankMultivariateNormal(zero, self.style_loading, variance)
        turned = curve @ given_zero.precision_matrix
        constant = given_zero.log_prob(batch.x).unsqueeze(-1)
        sums = sum_by_group(torch.cat([batch.x, constant], -1), batch.group, batch.num_groups)
        squares = 0.5 * (turned * curve).sum(-1)
        log_likelihood = (
            sums[:, -1:] + sums[:, :-1] @ turned.mT - batch.sizes.unsqueeze(-1) * squares
        )
        return points, log_likelihood + self.prior().log_prob(points.unsqueeze(-1))


class PolynomialMixtureModel(MLVAE):
    """:class:`PolynomialMixture` in Pyro, with its parameters frozen::

        C_G ~ sum over j of pi_j N(m_j, s_j^2)
        S_i ~ N(0, I)
        x_i ~ N(sum over d of B_d C_G^d + V S_i, noise_scale^2 I)

    Args:
        solved: its parameters; ``solved.log_evidence(batch)`` is the truth to compare with.
    """

    def __init__(self, solved: PolynomialMixture) -> None:
        style_dim = solved.style_loading.shape[1]
        super().__init__(_Curve(solved), NormalLikelihood(solved.noise_scale), 1, style_dim)
        self.solved = solved
        self.to(solved.locs.dtype)

    def content_prior(self, groups: Groups) -> TorchDistributionMixin:
        """The mixture, event shape ``[1]``."""
        return self.solved.prior()


class _Curve(nn.Module):
    """The mean of x: a polynomial in content, linear in style."""

    def __init__(self, solved: PolynomialMixture) -> None:
        super().__init__()
        self._solved = solved

    def forward(self, content: Tensor, style: Tensor) -> tuple[Tensor]:
        """The mean of x, ``[*batch, dim]``, as a tuple of one."""
        return (self._solved.mean(content, style),)
