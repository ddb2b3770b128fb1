r"""The grouped model whose evidence and posteriors are known exactly.

.. math::
    C_G &\sim N(0, I), \qquad S_i \sim N(0, I) \\
    x_i &= b + W C_G + V S_i + \sigma \epsilon_i, \qquad \epsilon_i \sim N(0, I)

Two loadings keep every posterior inside the family of the ML-VAE's guide, diagonal Normals:

- *orthogonal*: all columns of :math:`[W\;V]` are mutually orthogonal. The product of one Normal for
  each observation, times the prior, *is* the posterior of content, and style does not depend on it.
- *correlated*: column k of :math:`W` leans on column k of :math:`V`. Content is still such a
  product, and the exact style posterior depends on content: :math:`q(S_i \mid x_i, C_G)`.

Everything here is mathematics on tensors: the Pyro model and its guide are built on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from pyro_mlvae.data import GroupedBatch
from pyro_mlvae.data.generated import orthogonal_loadings, sample_linear
from pyro_mlvae.errors import InputError
from pyro_mlvae.ops.normals import sum_by_group


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """Parameters of the solved model, and all that follows from them in closed form.

    Attributes:
        content_loading: W, ``[dim, content_dim]``.
        style_loading: V, ``[dim, style_dim]``, with mutually orthogonal columns.
        offset: b, ``[dim]``.
        noise_scale: standard deviation of the noise.

    Use :meth:`orthogonal` or :meth:`correlated`.

    >>> solved = LinearGaussian.orthogonal(dim=6, content_dim=2, style_dim=2, seed=0)
    >>> batch = solved.sample(torch.tensor([1, 3]), seed=1)
    >>> solved.log_evidence(batch).shape
    torch.Size([2])
    """

    content_loading: Float[Tensor, "dim content"]
    style_loading: Float[Tensor, "dim style"]
    offset: Float[Tensor, " dim"]
    noise_scale: float

    @classmethod
    def orthogonal(
        cls, dim: int = 16, content_dim: int = 3, style_dim: int = 2, *, noise_scale: float = 0.5,
        seed: int = 0, dtype: torch.dtype = torch.float64,
    ) -> LinearGaussian:  # fmt: skip
        """Random mutually orthogonal loadings, with columns of length 1.0 to 2.0."""
        if not noise_scale > 0.0:
            raise InputError(f"noise_scale must be positive, got {noise_scale}")
        loadings = orthogonal_loadings(dim, content_dim, style_dim, seed=seed, dtype=dtype)
        return cls(*loadings, noise_scale)

    @classmethod
    def correlated(
        cls, dim: int = 16, content_dim: int = 3, style_dim: int = 2, *, lean: float = 0.8,
        noise_scale: float = 0.5, seed: int = 0, dtype: torch.dtype = torch.float64,
    ) -> LinearGaussian:  # fmt: skip
        """As :meth:`orthogonal`, then ``lean`` times column k of V is added to column k of W."""
        plain = cls.orthogonal(
            dim, content_dim, style_dim, noise_scale=noise_scale, seed=seed, dtype=dtype
        )
        shared = min(content_dim, style_dim)
        content_loading = plain.content_loading.clone()
        content_loading[:, :shared] += lean * plain.style_loading[:, :shared]
        return cls(content_loading, plain.style_loading, plain.offset, noise_scale)

    def sample(self, sizes: Tensor, *, seed: int = 0) -> GroupedBatch:
        """Draw one group of each of the given sizes from the model."""
        loadings = self.content_loading, self.style_loading, self.offset
        return sample_linear(*loadings, self.noise_scale, sizes, seed=seed)

    def mean(
        self, content: Float[Tensor, "*batch content"], style: Float[Tensor, "*batch style"]
    ) -> Float[Tensor, "*batch dim"]:
        """The mean of x given content and style."""
        return self.offset + content @ self.content_loading.mT + style @ self.style_loading.mT

    def _given_no_content(self) -> LowRankMultivariateNormal:
        """p(x | C = 0): style and noise integrated out, covariance V V' + noise."""
        variance = torch.full_like(self.offset, self.noise_scale**2)
        return LowRankMultivariateNormal(self.offset, self.style_loading, variance)

    def _content_information(self) -> tuple[Tensor, Tensor]:
        """W' Psi^-1 and its product with W, where Psi is the covariance of x given content."""
        projection = self.content_loading.mT @ self._given_no_content().precision_matrix
        return projection, projection @ self.content_loading

    def log_evidence(self, batch: GroupedBatch) -> Float[Tensor, " groups"]:
        r"""The exact :math:`\log p(X_G)` of each group, in nats.

        By Bayes' rule at C = 0: :math:`\log p(X | 0) + \log p(0) - \log p(0 | X)`, where the
        posterior of content has precision :math:`P = I + n W' \Psi^{-1} W` and
        :math:`P m = W' \Psi^{-1} \sum_i (x_i - b)`.
        """
        given_zero, pull, _ = self.content_potential(batch)
        _, information = self._content_information()
        eye = torch.eye(len(information), dtype=information.dtype, device=information.device)
        precision = eye + batch.sizes[:, None, None] * information
        solved = torch.linalg.solve(precision, pull.unsqueeze(-1)).squeeze(-1)
        return (
            given_zero
            + 0.5 * (pull * solved).sum(-1)
            - 0.5 * torch.linalg.slogdet(precision).logabsdet
        )

    def content_potential(self, batch: GroupedBatch) -> tuple[Tensor, Tensor, Tensor]:
        r"""What each group's observations say of its content, without any prior.

        Returns:
            ``[groups]``, ``[groups, content]`` and ``[groups, content]``: the constant, h and J in
            :math:`\log p(X_G \mid C) = \text{constant} + h^T C - \tfrac{1}{2} C^T \mathrm{diag}(J)
            C`.
        """
        projection, information = self._content_information()
        given_zero = self._given_no_content().log_prob(batch.x).unsqueeze(-1)
        pull = sum_by_group((batch.x - self.offset) @ projection.mT, batch.group, batch.num_groups)
        constant = sum_by_group(given_zero, batch.group, batch.num_groups).squeeze(-1)
        return constant, pull, batch.sizes.unsqueeze(-1) * information.diagonal()

    def content_expert(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(weight, bias, scale)``: an observation's factor is ``N(C; weight @ x + bias, scale)``.

        Times the prior, these factors make a group's exact content posterior.
        """
        projection, information = self._content_information()
        precision = information.diagonal()
        weight = projection / precision.unsqueeze(-1)
        return weight, -weight @ self.offset, precision.rsqrt()

    def style_given_content(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``(weight, bias, shift, scale)`` of ``N(S; weight @ x + bias - shift @ C, scale)``."""
        precision = 1.0 + self.style_loading.square().sum(0) / self.noise_scale**2
        weight = self.style_loading.mT / self.noise_scale**2 / precision.unsqueeze(-1)
        return weight, -weight @ self.offset, weight @ self.content_loading, precision.rsqrt()
