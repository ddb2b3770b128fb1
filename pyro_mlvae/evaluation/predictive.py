r"""Few-shot scores by the decoder: the density of a query given the shots of a group.

With K draws of content, each with one draw of style,

.. math:: \log p(x_q \mid X_S) \approx \log \frac{1}{K} \sum_k
    \frac{q(C_k \mid X_S)}{q(C_k \mid X_S, x_q)} \;
    \frac{p(x_q \mid C_k, S_k) \, p(S_k)}{q(S_k \mid x_q, C_k)}, \qquad
    C_k \sim q(C \mid X_S, x_q), \quad S_k \sim q(S \mid x_q, C_k)

Content is drawn knowing the query, because there the integrand is large. The mean is an unbiased
estimate of :math:`\int p(x_q \mid C) \, q(C \mid X_S) \, dC`: the guide's posterior given the shots
is taken for the model's, and is not corrected by the decoder. With the exact posterior as guide
every single draw is exact, by Bayes' rule.

Unlike the score by the posterior, this one asks nothing of the guide's form: content need not be a
product of Normals. It costs K decoded observations for every query and group.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import require_positive, require_seed
from pyro_mlvae.estimators.programs import in_mode
from pyro_mlvae.evaluation.few_shot import Score
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode
from pyro_mlvae.models import MLVAE

# Values of x that are decoded at once.
_CHUNK = 2**21


def decoder_score(
    model: MLVAE, guide: GroupedGuide, data: GroupedDataset, *, samples: int = 20, seed: int = 0
) -> Score:
    """The decoder's log p(x_q | shots), for :func:`~pyro_mlvae.evaluation.few_shot_accuracy`.

    Args:
        model: the trained model.
        guide: its trained guide.
        data: the observations that queries and shots are indices of.
        samples: draws for every query and group.
        seed: of the draws; the caller's random state stays as it is.

    Returns:
        From queries ``[..., queries]`` and shots ``[..., ways, shots]`` to nats ``[..., queries,
        ways]``.

    Raises:
        InputError: ``samples`` or ``seed`` is no such number.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 2]))
    >>> data = GroupedDataset.from_arrays(batch.x, batch.group)
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> decoder_score(*pair, data)(torch.tensor([0, 2]), torch.tensor([[1], [3]])).shape
    torch.Size([2, 2])
    """
    require_positive(samples=samples)
    require_seed(seed)
    codes = encode(guide, data)

    def score(query: Tensor, given: Tensor) -> Tensor:
        shape = (*query.shape, given.shape[-2])
        query = query.unsqueeze(-1).expand(shape).flatten()
        given = given.unsqueeze(-3).expand(*shape, -1).flatten(0, -2)
        pairs = max(1, _CHUNK // (samples * data.event_shape.numel()))
        chunks = zip(query.split(pairs), given.split(pairs), strict=True)
        found = [
            log_predictive(
                model,
                guide,
                data,
                q,
                g,
                codes=codes,
                samples=samples,
                seed=mixed_seed(seed, number),
            )[0]
            for number, (q, g) in enumerate(chunks)
        ]
        return torch.cat(found).reshape(shape)

    return score


@torch.no_grad()
def log_predictive(
    model: MLVAE,
    guide: GroupedGuide,
    data: GroupedDataset,
    query: Int64[Tensor, " pairs"],
    given: Int64[Tensor, "pairs shots"],
    *,
    codes: Codes | None = None,
    samples: int = 20,
    seed: int = 0,
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """The log density of queries given shots, by this module's formula.

    Args:
        model: the trained model.
        guide: its trained guide.
        data: the observations.
        query: one observation of each pair, as an index.
        given: the shots that it is put to.
        codes: what :func:`~pyro_mlvae.latents.encode` says of ``data``, where that is known
            already.
        samples: draws for every pair.
        seed: of the draws; the caller's random state stays as it is.

    Returns:
        Nats, and their standard errors (NaN for a single draw), in float64 on the guide's device.

    Raises:
        InputError: ``samples`` or ``seed`` is no such number.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([3]))
    >>> data = GroupedDataset.from_arrays(batch.x, batch.group)
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> found, _ = log_predictive(*pair, data, torch.tensor([2]), torch.tensor([[0, 1]]), samples=1)
    >>> both, shots = (solved.log_evidence(data.batch(torch.arange(n))) for n in (3, 2))
    >>> torch.allclose(found, both - shots)
    True
    """
    require_positive(samples=samples)
    require_seed(seed)
    codes = encode(guide, data) if codes is None else codes
    device = codes.features.device
    x = data.observations(query).to(codes.features)
    query, given = query.to(device), given.to(device)
    features = codes.features[query]
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        in_mode(model, guide, training=False),
    ):
        torch.manual_seed(seed)
        of_shots = _content(guide, codes, given)
        of_both = _content(guide, codes, torch.cat([given, query.unsqueeze(-1)], -1))
        content = of_both.sample((samples,))
        of_style = guide.style_posterior(features, content).expand((samples, len(query)))
        style = of_style.sample()
        alone = codes.groups.regrouped(query, torch.arange(len(query), device=device))
        log_weight = (
            of_shots.log_prob(content).double()
            - of_both.log_prob(content).double()
            + model.style_prior(alone).log_prob(style).double()
            - of_style.log_prob(style).double()
            + model.observation(content, style).log_prob(x).double()
        )
    log_mean = log_weight.logsumexp(0) - math.log(samples)
    relative = (log_weight - log_mean).exp()
    error = relative.std(0) if samples > 1 else torch.full_like(log_mean, torch.nan)
    return log_mean, error / math.sqrt(samples)


def _content(guide: GroupedGuide, codes: Codes, index: Tensor) -> TorchDistributionMixin:
    """The content posterior of groups ``[groups, members]``, each by itself."""
    group = torch.arange(len(index), device=index.device).repeat_interleave(index.shape[1])
    groups = codes.groups.regrouped(index.flatten(), group)
    # No group hears of the others through a super-group.
    groups = replace(groups, parent=None, num_parents=0)
    return guide.checked_content(codes.features[index.flatten()], groups)
