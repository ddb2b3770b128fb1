r"""Few-shot classification of unseen groups, by the posterior of content alone.

Each observation's expert :math:`f_i(C) = N(C; \mu_i, \sigma_i^2)` is its likelihood of content, up
to a constant. So the guide itself says how much likelier a query q and some shots S are if they
share one content, drawn from the prior, than if each has its own:

.. math:: s(q, S) = \log \frac{\int p(C) f_q(C) \prod_{i \in S} f_i(C) \, dC}
        {\int p(C) f_q(C) \, dC \; \int p(C) \prod_{i \in S} f_i(C) \, dC}
    = \log \frac{N(\mu_q;\, \mu_S,\, \sigma_S^2 + \sigma_q^2)}{N(\mu_q;\, 0,\, 1 + \sigma_q^2)}

summed over dimensions, with :math:`\sigma_S^{-2} = 1 + \sum_i \sigma_i^{-2}` and
:math:`\mu_S = \sigma_S^2 \sum_i \sigma_i^{-2} \mu_i`.

**For which guide this is exact.** The constants of the experts cancel. So s is the model's log
Bayes factor
:math:`\log p(x_q, X_S) - \log p(x_q) - \log p(X_S)` where :math:`f_i(C) \propto p(x_i \mid C)` with
style integrated out. That is so for ``ProductOfNormals(prior_expert=True)`` whose posterior
:math:`p(C) \prod_i f_i(C)` is exact, and the prior of content is N(0, I). It is an approximation
for

- the paper's product without the prior, and every guide that multiplies no Normals, whose expert
here is
  :math:`q(C \mid x_i)`. Where that is exact for one observation, it already has the prior in it:
  :math:`f_i \propto p(C) p(x_i \mid C)`. The prior is *not* divided out again, because the quotient
  is no Normal where q is as wide as the prior; so the prior counts once more for every observation.
  That matters little where one observation says much more of content than the prior;
- a guide of three levels, where query and shots come from one super-group: their contents then are
  not independent, which "each has its own" takes them to be.

For one query, s and :math:`\log p(x_q \mid X_S)` differ by :math:`\log p(x_q)`, the same for every
group: both choose the same group. :func:`~pyro_mlvae.evaluation.predictive.decoder_score` estimates
the latter by the decoder, for any guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from pyro.distributions import Normal
from torch import Tensor

from pyro_mlvae.evaluation.episodes import draw_episodes

# From queries [..., queries] and shots [..., ways, shots], as indices of observations, to how well
# each query fits each way [..., queries, ways]; the highest is chosen.
Score = Callable[[Tensor, Tensor], Tensor]

# Values held at once, in float64, while episodes are scored.
_CHUNK = 2**24


def log_evidence_ratio(
    query_loc: Float[Tensor, "*#batch dim"],
    query_scale: Float[Tensor, "*#batch dim"],
    shots_loc: Float[Tensor, "*#batch shots dim"],
    shots_scale: Float[Tensor, "*#batch shots dim"],
) -> Float[Tensor, "*batch"]:
    """The score s(q, S) of this module's formula, in nats; leading dimensions broadcast.

    Args:
        query_loc: locs of the queries' experts.
        query_scale: their scales, positive.
        shots_loc: locs of the experts of the shots, which are known to share their content.
        shots_scale: their scales, positive.

    Returns:
        Above zero where query and shots are likelier to share content than not. With one shot it is
        symmetric in shot and query.

    >>> one = torch.ones(1)
    >>> near = log_evidence_ratio(2 * one, 0.1 * one, 2 * one[None], 0.1 * one[None])
    >>> far = log_evidence_ratio(2 * one, 0.1 * one, -2 * one[None], 0.1 * one[None])
    >>> bool(near > 0 > far)
    True
    """
    loc, scale = _content_of_shots(shots_loc, shots_scale)
    together = Normal(loc, (scale.square() + query_scale.square()).sqrt(), validate_args=False)
    apart = Normal(
        torch.zeros_like(query_loc), (1.0 + query_scale.square()).sqrt(), validate_args=False
    )
    return (together.log_prob(query_loc) - apart.log_prob(query_loc)).sum(-1)


def posterior_score(expert: Normal) -> Score:
    """:func:`log_evidence_ratio` of queries and shots given by their indices.

    Args:
        expert: each observation's factor of its group's content, batch shape ``[N, content]``, as
            :func:`pyro_mlvae.latents.encoding.experts` gives it.

    >>> loc = torch.tensor([[0.0], [0.0], [3.0]])
    >>> score = posterior_score(Normal(loc, torch.full_like(loc, 0.1)))
    >>> score(torch.tensor([0]), torch.tensor([[1], [2]])).argmax(-1)
    tensor([0])
    """
    loc, scale = expert.loc.double(), expert.scale.double()

    def score(query: Tensor, given: Tensor) -> Tensor:
        # Every query of an episode, [..., query, 1, dim], meets every way, [..., 1, way, shots,
        # dim].
        return log_evidence_ratio(
            loc[query].unsqueeze(-2), scale[query].unsqueeze(-2),
            loc[given].unsqueeze(-4), scale[given].unsqueeze(-4),
        )  # fmt: skip

    return score


def distance_score(vectors: Float[Tensor, "observations ..."]) -> Score:
    """The control: minus the Euclidean distance of a query to the nearest shot of a group.

    >>> score = distance_score(torch.tensor([[0.0], [1.0], [3.0]]))
    >>> score(torch.tensor([0]), torch.tensor([[1], [2]]))
    tensor([[-1., -3.]], dtype=torch.float64)
    """
    vectors = vectors.flatten(1).double()

    def score(query: Tensor, given: Tensor) -> Tensor:
        distance = torch.cdist(
            vectors[query],
            vectors[given.flatten(-2)],
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        return -distance.unflatten(-1, given.shape[-2:]).amin(-1)

    return score


def few_shot_accuracy(
    score: Normal | Score,
    group: Int64[Tensor, " observations"],
    *,
    ways: int = 5,
    shots: int = 1,
    episodes: int = 1000,
    within: Int64[Tensor, " observations"] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """How often the group of a query is the one whose shots score highest.

    An episode draws ``ways`` groups, and of each ``shots`` observations and one query, all without
    replacement; each query is put to all the groups of its episode. Chance is ``1 / ways``.

    Args:
        score: the experts of content, for :func:`posterior_score`; or another score, such as
            :func:`~pyro_mlvae.evaluation.predictive.decoder_score`.
        group: the group of each observation, ``[N]``, any integers.
        ways: groups in an episode.
        shots: observations of each group that are given.
        episodes: how many episodes.
        within: the super-group of each observation, ``[N]``: all groups of an episode are then of
            one super-group. By default an episode draws from all groups.
        seed: of the episodes; the same for every score, so that what is compared is compared on the
            same episodes.

    Returns:
        ``{"accuracy": ..., "standard_error": ...}``, the error that of a mean over episodes.

    Raises:
        InputError: fewer than ``ways`` groups (of one super-group) have ``shots + 1`` observations.

    >>> loc = torch.arange(6.0).repeat_interleave(3)[:, None]
    >>> group = torch.arange(6).repeat_interleave(3)
    >>> few_shot_accuracy(Normal(loc, torch.full_like(loc, 0.1)), group, shots=2)
    {'accuracy': 1.0, 'standard_error': 0.0}
    """
    dim = 1
    if isinstance(score, Normal):
        dim = score.loc.shape[-1]
        score = posterior_score(score)
    query, given = draw_episodes(group, ways, shots, episodes, seed, within)
    return _accuracy(score, query, given, dim * ways * max(ways, shots))


def nearest_neighbour_accuracy(
    vectors: Float[Tensor, "observations ..."],
    group: Int64[Tensor, " observations"],
    *,
    ways: int = 5,
    shots: int = 1,
    episodes: int = 1000,
    within: Int64[Tensor, " observations"] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """The control: how often the shot nearest to a query is of its own group.

    Args:
        vectors: what distances are measured between, ``[N, ...]``, such as the pixels themselves.
        group, ways, shots, episodes, within, seed: as for :func:`few_shot_accuracy`; equal seeds
            give equal episodes.

    Returns:
        ``{"accuracy": ..., "standard_error": ...}``.

    >>> x = torch.eye(6).repeat_interleave(3, 0)
    >>> nearest_neighbour_accuracy(x, torch.arange(6).repeat_interleave(3))
    {'accuracy': 1.0, 'standard_error': 0.0}
    """
    query, given = draw_episodes(group, ways, shots, episodes, seed, within)
    values = vectors[0].numel() * ways * (shots + 1)
    return _accuracy(distance_score(vectors), query, given, values)


def _content_of_shots(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Loc and scale of the product of the shots' experts and of the prior N(0, I)."""
    precision = scale.square().reciprocal()
    total = 1.0 + precision.sum(-2)
    return (precision * loc).sum(-2) / total, total.rsqrt()


def _accuracy(score: Score, query: Tensor, given: Tensor, values: int) -> dict[str, float]:
    """Accuracy of ``score`` over the queries [E, ways] and shots [E, ways, shots] of episodes.

    Episodes are scored so many at a time that ``values`` numbers an episode stay within bounds.
    """
    episodes, ways = query.shape
    right = torch.arange(ways)
    chunks = [each.split(max(1, _CHUNK // values)) for each in (query, given)]
    per_episode = torch.cat(
        [
            (score(q, g).argmax(-1).cpu() == right).double().mean(-1)
            for q, g in zip(*chunks, strict=True)
        ]
    )
    error = float(per_episode.std()) / math.sqrt(episodes) if episodes > 1 else math.nan
    return {"accuracy": float(per_episode.mean()), "standard_error": error}
