r"""Independence of style from the group, by the Hilbert-Schmidt independence criterion.

.. math:: \rho = \frac{HSIC(K, L)}{\sqrt{HSIC(K, K) \, HSIC(L, L)}}, \qquad
    K_{ij} = k(s_i, s_j), \quad L_{ij} = [\,\text{i and j are of one group}\,]

The only label is whether two observations share a group: groups need no names, and none has to be
seen twice. With kernels that are characteristic, HSIC is zero only if style and group are
independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.errors import InputError
from pyro_mlvae.ops import mean_of
from pyro_mlvae.penalties.base import Latents, Penalty, require_weight


def hsic(
    first: Float[Tensor, "members members"], second: Float[Tensor, "members members"]
) -> Float[Tensor, ""]:
    """The unbiased estimate of HSIC from two kernel matrices of the same observations, at least 4.

    Reference: Song et al. (2012), "Feature selection via dependence maximization", JMLR 13, eq. 5.

    >>> same = torch.eye(4).repeat_interleave(2, 0).repeat_interleave(2, 1)
    >>> float(hsic(same, same)) > 0.1
    True
    """
    n = len(first)
    # Centred before they are multiplied: large terms would cancel to little in float32.
    return (_centred(first) * _centred(second)).sum() / (n * (n - 3))


def _centred(kernel: Tensor) -> Tensor:
    """The kernel matrix with a diagonal of zeros, and rows and columns that sum to zero."""
    n = len(kernel)
    kernel = kernel - kernel.diagonal().diag()
    rows = kernel.sum(0) / (n - 2)
    centred = kernel - rows[:, None] - rows[None, :] + rows.sum() / (n - 1)
    return centred - centred.diagonal().diag()


@dataclass(frozen=True)
class HSIC(Penalty):
    """The normalised HSIC of style and "same group or not", per observation.

    Attributes:
        weight: of a full dependence, rho = 1; in nats per observation.
        bandwidths: variances of the Gaussian kernels whose mean k is, per dimension of a style that
            is scaled to unit variance. Small ones see fine structure.

    What is measured is the loc of the style that single observations have at test time (the guide's
    ``codes``), scaled dimension by dimension: a probe reads those, however little they weigh beside
    the posterior's scale. A minibatch of fewer than 4 observations, or of one group, or of groups
    of one, is not penalised.

    Raises:
        InputError: the weight is no number of at least 0, or the bandwidths are not positive; and,
            when it is used, the guide is none that has codes.

    Reference: Gretton et al. (2005), "Measuring statistical dependence with Hilbert-Schmidt norms";
    Lopez et al. (2018), arXiv 1805.08672, for VAEs.

    >>> HSIC(weight=100.0)
    HSIC(weight=100.0, bandwidths=(0.03, 0.12, 0.5))
    """

    weight: float
    bandwidths: tuple[float, ...] = (0.03, 0.12, 0.5)

    def __post_init__(self) -> None:
        require_weight(weight=self.weight)
        if not self.bandwidths or not all(0.0 < b < float("inf") for b in self.bandwidths):
            raise InputError(
                f"bandwidths must be positive and finite, and at least one, got {self.bandwidths}"
            )

    def __call__(self, latents: Latents) -> Tensor:
        _, style = latents.codes
        batch, loc = latents.batch, mean_of(style)
        n = len(batch)
        if n < 4 or not 1 < batch.num_groups < n:
            return 0.0 * loc.sum()
        # The smallest number keeps a style that is constant from dividing by zero.
        scaled = (loc - loc.detach().mean(0)) / (loc.detach().std(0) + 1e-6)
        distance = torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist")
        squared = distance.square() / loc.shape[-1]
        kernel = torch.stack([(-0.5 * squared / b).exp() for b in self.bandwidths]).mean(0)
        same = (batch.group[:, None] == batch.group[None, :]).to(loc)
        size = hsic(kernel.detach(), kernel.detach()) * hsic(same, same)
        dependence = hsic(kernel, same) / size.clamp(min=1e-12).sqrt()
        return self.weight * n * dependence
