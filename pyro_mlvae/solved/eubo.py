r"""The evidence upper bound of the solved model in closed form.

.. math:: E_{p(C, S \mid X)}[\log p(X, C, S) - \log q(C, S \mid X)]
    = \log p(X) + KL\big(p(C, S \mid X) \,\|\, q(C, S \mid X)\big)

Posterior and guide are both Normals whose style's loc is linear in content, so the divergence is a
sum of squares.
"""

from __future__ import annotations

from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.ops import normal_from_parameters
from pyro_mlvae.solved.guides import LinearGaussianGuide
from pyro_mlvae.solved.two_level import LinearGaussian


def exact_eubo(solved: LinearGaussian, guide: LinearGaussianGuide, batch: GroupedBatch) -> Tensor:
    """The upper bound of all groups together, in nats: a scalar, differentiable in the guide.

    >>> import torch
    >>> solved = LinearGaussian.correlated()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> eubo = exact_eubo(solved, LinearGaussianGuide.exact(solved), batch)
    >>> torch.allclose(eubo, solved.log_evidence(batch).sum())
    True
    """
    posterior = LinearGaussianGuide.exact(solved).to(batch.x)
    true_content, true_style = _said(posterior, batch)
    content, style = _said(guide, batch)
    # Of style's locs, what differs is linear in content.
    turn = guide.shift - posterior.shift
    loc = true_content.mean.index_select(0, batch.group)
    variance = true_content.variance.index_select(0, batch.group)
    apart = true_style.loc - style.loc + loc @ turn.mT
    squares = apart.square() + variance @ turn.square().mT + true_style.variance
    ratio = true_style.variance.log() - style.variance.log()
    of_style = 0.5 * (squares / style.variance - 1.0 - ratio).sum()
    divergence = kl_divergence(true_content, content).sum() + of_style
    return solved.log_evidence(batch).sum() + divergence


def _said(guide: LinearGaussianGuide, batch: GroupedBatch) -> tuple:
    """q(C | X) of each group, and q(S | x, C = 0) of each observation."""
    features = guide.encode(batch.x)
    style = normal_from_parameters(guide.split(features)[1])
    return guide.content_posterior(features, batch.groups), style
