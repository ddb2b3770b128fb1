r"""The ELBO and the evidence upper bound (EUBO) of the solved model in closed form.

With :math:`q(C) = N(m, v)` and :math:`q(S_i \mid C) = N(a_i - K C, s^2)`, x's residual is

.. math:: x_i - b - V a_i - (W - V K) C - V s \epsilon

which is linear in independent Normals, so every expectation is a sum of squares. The upper bound is

.. math:: E_{p(C, S \mid X)}[\log p(X, C, S) - \log q(C, S \mid X)]
    = \log p(X) + KL\big(p(C, S \mid X) \,\|\, q(C, S \mid X)\big)

where both are Normals whose style's loc is linear in content: a sum of squares again.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.likelihoods import NormalLikelihood
from pyro_mlvae.ops import normal_from_parameters
from pyro_mlvae.solved.guides import LinearGaussianGuide
from pyro_mlvae.solved.models import LinearDecoder, LinearGaussianModel
from pyro_mlvae.solved.two_level import LinearGaussian


def exact_elbo(
    model: LinearGaussianModel, guide: LinearGaussianGuide, batch: GroupedBatch
) -> Tensor:
    """The ELBO of all groups together, in nats: a differentiable scalar, without a draw.

    >>> import torch
    >>> solved = LinearGaussian.correlated()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> elbo = exact_elbo(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch)
    >>> torch.allclose(elbo, solved.log_evidence(batch).sum())
    True
    """
    decoder, shift = cast(LinearDecoder, model.decoder), guide.shift
    noise_scale = cast(NormalLikelihood, model.likelihood).scale
    features = guide.encode(batch.x)
    style = normal_from_parameters(guide.split(features)[1])
    content = guide.content_posterior(features, batch.groups)
    loc = content.mean.index_select(0, batch.group)
    variance = content.variance.index_select(0, batch.group)

    style_loading = decoder.style_loading
    left = decoder.content_loading - style_loading @ shift  # what content still moves in x
    residual = batch.x - decoder.offset - style.loc @ style_loading.mT - loc @ left.mT
    squares = (
        residual.square().sum()
        + (variance @ left.square().mT).sum()
        + (style.variance @ style_loading.square().mT).sum()
    )
    normaliser = 0.5 * batch.x.numel() * math.log(2.0 * math.pi * noise_scale**2)
    reconstruction = -0.5 * squares / noise_scale**2 - normaliser

    style_loc = style.loc - loc @ shift.mT
    second_moment = style_loc.square() + variance @ shift.square().mT + style.variance
    kl_style = 0.5 * (second_moment - 1.0 - style.variance.log()).sum()
    prior = model.content_prior(batch.groups)
    return reconstruction - kl_style - kl_divergence(content, prior).sum()


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
