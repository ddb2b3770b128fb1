r"""Few-shot classification of unseen groups, by the posterior of content alone.

Each observation's expert :math:`f_i(C) = N(C; \mu_i, \sigma_i^2)` is its likelihood of content, up to a
constant, so the guide itself says how much likelier a query q and some shots S are if they share one
content, drawn from the prior, than if each has its own:

.. math:: s(q, S) = \log \frac{\int p(C) f_q(C) \prod_{i \in S} f_i(C) \, dC}
        {\int p(C) f_q(C) \, dC \; \int p(C) \prod_{i \in S} f_i(C) \, dC}
    = \log \frac{N(\mu_q;\, \mu_S,\, \sigma_S^2 + \sigma_q^2)}{N(\mu_q;\, 0,\, 1 + \sigma_q^2)}

summed over dimensions, with :math:`\sigma_S^{-2} = 1 + \sum_i \sigma_i^{-2}` and
:math:`\mu_S = \sigma_S^2 \sum_i \sigma_i^{-2} \mu_i`: the exact log Bayes factor under the guide.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from pyro.distributions import Normal
from torch import Tensor

from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.evaluation.draws import distinct, members

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
    apart = Normal(torch.zeros_like(query_loc), (1.0 + query_scale.square()).sqrt(), validate_args=False)
    return (together.log_prob(query_loc) - apart.log_prob(query_loc)).sum(-1)


def few_shot_accuracy(
    expert: Normal,
    group: Int64[Tensor, " observations"],
    *,
    ways: int = 5,
    shots: int = 1,
    episodes: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """How often the group of a query is the one whose shots score highest, :func:`log_evidence_ratio`.

    An episode draws ``ways`` groups, and of each ``shots`` observations and one query, all without
    replacement; each query is put to all the groups of its episode. Chance is ``1 / ways``.

    Args:
        expert: each observation's factor of its group's content, batch shape ``[N, content]``, as
            :func:`pyro_mlvae.latents.encoding.experts` gives it.
        group: the group of each observation, ``[N]``, any integers.
        ways: groups in an episode.
        shots: observations of each group that are given.
        episodes: how many episodes.
        seed: of the episodes; the same for every scale, loc and vector, so that what is compared is
            compared on the same episodes.

    Returns:
        ``{"accuracy": ..., "standard_error": ...}``, the error that of a mean over episodes.

    Raises:
        InputError: fewer than ``ways`` groups have ``shots + 1`` observations.

    >>> loc = torch.arange(6.0).repeat_interleave(3)[:, None]
    >>> group = torch.arange(6).repeat_interleave(3)
    >>> few_shot_accuracy(Normal(loc, torch.full_like(loc, 0.1)), group, shots=2)
    {'accuracy': 1.0, 'standard_error': 0.0}
    """
    loc, scale = expert.loc.double(), expert.scale.double()

    def score(query: Tensor, given: Tensor) -> Tensor:
        # Every query of an episode, [..., query, 1, dim], meets every way, [..., 1, way, shots, dim].
        return log_evidence_ratio(
            loc[query].unsqueeze(-2), scale[query].unsqueeze(-2),
            loc[given].unsqueeze(-4), scale[given].unsqueeze(-4),
        )  # fmt: skip

    values = loc.shape[-1] * ways * max(ways, shots)
    return _accuracy(score, group, ways, shots, episodes, seed, values)


def nearest_neighbour_accuracy(
    vectors: Float[Tensor, "observations ..."],
    group: Int64[Tensor, " observations"],
    *,
    ways: int = 5,
    shots: int = 1,
    episodes: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """The control: how often the shot nearest to a query, in Euclidean distance, is of its own group.

    Args:
        vectors: what distances are measured between, ``[N, ...]``, such as the pixels themselves.
        group: as for :func:`few_shot_accuracy`, and so are the rest; equal seeds give equal episodes.
        ways: groups in an episode.
        shots: observations of each group that are given.
        episodes: how many episodes.
        seed: of the episodes.

    Returns:
        ``{"accuracy": ..., "standard_error": ...}``.

    >>> x = torch.eye(6).repeat_interleave(3, 0)
    >>> nearest_neighbour_accuracy(x, torch.arange(6).repeat_interleave(3))
    {'accuracy': 1.0, 'standard_error': 0.0}
    """
    vectors = vectors.flatten(1).double()

    def score(query: Tensor, given: Tensor) -> Tensor:
        distance = torch.cdist(
            vectors[query], vectors[given.flatten(-2)], compute_mode="donot_use_mm_for_euclid_dist"
        )
        return -distance.unflatten(-1, given.shape[-2:]).amin(-1)

    return _accuracy(score, group, ways, shots, episodes, seed, vectors.shape[1] * ways * (shots + 1))


def _content_of_shots(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Loc and scale of the product of the shots' experts and of the prior N(0, I)."""
    precision = scale.square().reciprocal()
    total = 1.0 + precision.sum(-2)
    return (precision * loc).sum(-2) / total, total.rsqrt()


def _accuracy(
    score: Callable[[Tensor, Tensor], Tensor],
    group: Tensor,
    ways: int,
    shots: int,
    episodes: int,
    seed: int,
    values: int,
) -> dict[str, float]:
    """Accuracy of ``score``: from queries [E, ways] and shots [E, ways, shots] to scores [E, ways, ways].

    Episodes are scored so many at a time that ``values`` numbers an episode stay within bounds.
    """
    query, given = _draw_episodes(group, ways, shots, episodes, seed)
    right = torch.arange(ways)
    per_episode = torch.cat(
        [
            (score(q, g).argmax(-1).cpu() == right).double().mean(-1)
            for q, g in zip(*(t.split(max(1, _CHUNK // values)) for t in (query, given)), strict=True)
        ]
    )
    error = float(per_episode.std()) / math.sqrt(episodes) if episodes > 1 else math.nan
    return {"accuracy": float(per_episode.mean()), "standard_error": error}


def _draw_episodes(
    group: Tensor, ways: int, shots: int, episodes: int, seed: int
) -> tuple[Int64[Tensor, "episodes ways"], Int64[Tensor, "episodes ways shots"]]:
    """Queries and shots of seeded episodes, as indices of observations."""
    require_positive(ways=ways, shots=shots, episodes=episodes)
    require_seed(seed)
    order, start, size = members(group)
    enough = size > shots
    if int(enough.sum()) < ways:
        raise InputError(
            f"{ways}-way {shots}-shot episodes need {ways} groups of at least {shots + 1} observations, "
            f"but only {int(enough.sum())} of {len(size)} have so many: use fewer ways or shots"
        )
    start, size = start[enough], size[enough]
    generator = torch.Generator().manual_seed(seed)
    way = distinct(torch.full((episodes,), len(size)), ways, generator)
    member = order[start[way].unsqueeze(-1) + distinct(size[way], shots + 1, generator)]
    return member[..., 0], member[..., 1:]
