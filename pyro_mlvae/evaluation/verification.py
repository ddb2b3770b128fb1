"""Verification: are two observations of one group? Asked of groups that training never saw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from pyro.distributions import Normal
from torch import Tensor

from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.evaluation.episodes import below, members
from pyro_mlvae.evaluation.few_shot import log_evidence_ratio


def verification_auc(
    expert: Normal,
    group: Int64[Tensor, " observations"],
    *,
    first: Bool[Tensor, " observations"] | None = None,
    pairs: int = 20_000,
    seed: int = 0,
) -> float:
    """How well :func:`log_evidence_ratio` tells pairs of one group from pairs of two: the ROC AUC.

    The probability that a random pair of one group scores higher than a random pair of two; chance
    is 0.5 whatever the number and the sizes of the groups.

    Args:
        expert: each observation's factor of its group's content, batch shape ``[N, content]``.
        group: the group of each observation, ``[N]``, any integers.
        first: which observations the first of a pair is drawn from, ``[N]``; all by default. So
            groups that were never seen can be told from those that were.
        pairs: how many pairs of either kind, drawn uniformly among all there are, with replacement.
        seed: of the pairs; the same for every expert and vector.

    Raises:
        InputError: there is only one group, or no pair of one group to draw.

    >>> loc = torch.arange(6.0).repeat_interleave(3)[:, None]
    >>> group = torch.arange(6).repeat_interleave(3)
    >>> round(verification_auc(Normal(loc, torch.full_like(loc, 0.1)), group, pairs=100), 6)
    1.0
    """
    loc, scale = expert.loc.double(), expert.scale.double()

    def score(one: Tensor, other: Tensor) -> Tensor:
        return log_evidence_ratio(
            loc[one], scale[one], loc[other].unsqueeze(-2), scale[other].unsqueeze(-2)
        )

    return _auc(score, group, first, pairs, seed)


def nearest_neighbour_auc(
    vectors: Float[Tensor, "observations ..."],
    group: Int64[Tensor, " observations"],
    *,
    first: Bool[Tensor, " observations"] | None = None,
    pairs: int = 20_000,
    seed: int = 0,
) -> float:
    """The control: :func:`verification_auc` by the Euclidean distance of two observations.

    Args:
        vectors: what distances are measured between, ``[N, ...]``, such as the pixels themselves.
        group, first, pairs, seed: as for :func:`verification_auc`; equal seeds give equal pairs.

    >>> x = torch.eye(6).repeat_interleave(3, 0)
    >>> nearest_neighbour_auc(x, torch.arange(6).repeat_interleave(3), pairs=100)
    1.0
    """
    vectors = vectors.flatten(1)

    def score(one: Tensor, other: Tensor) -> Tensor:
        chunks = zip(one.split(1000), other.split(1000), strict=True)
        return torch.cat([-(vectors[a] - vectors[b]).double().norm(dim=-1) for a, b in chunks])

    return _auc(score, group, first, pairs, seed)


def _auc(
    score: Callable[[Tensor, Tensor], Tensor],
    group: Tensor,
    first: Tensor | None,
    pairs: int,
    seed: int,
) -> float:
    from sklearn.metrics import roc_auc_score

    require_positive(pairs=pairs)
    require_seed(seed)
    one, other = _draw_pairs(group, first, pairs, seed)
    is_same = torch.arange(2 * pairs) < pairs
    return float(roc_auc_score(is_same.numpy(), score(one, other).cpu().numpy()))


def _draw_pairs(
    group: Tensor, first: Tensor | None, pairs: int, seed: int
) -> tuple[Tensor, Tensor]:
    """``pairs`` of one group, then as many of two, as indices ``[2 * pairs]``."""
    generator = torch.Generator().manual_seed(seed)
    order, start, size = members(group)
    may = torch.ones(len(order)) if first is None else first.cpu()[order]
    # Places in ``order``, where groups stand side by side: of the first of a pair, its group's
    # first, and, counted from there, the second of the pair among the others of its group or of the
    # rest.
    own_start, own_size = start.repeat_interleave(size), size.repeat_interleave(size)
    total = len(order)
    same_weight, different_weight = (own_size - 1).double() * may, (total - own_size).double() * may
    if not (same_weight.any() and different_weight.any()):
        raise InputError(
            f"verification needs two groups, and one of them with two observations, got "
            f"{len(size)} group(s) of at most {int(size.max()) if len(size) else 0}: give it more "
            "of the data"
        )
    place = torch.multinomial(same_weight, pairs, replacement=True, generator=generator)
    step = 1 + below(own_size[place] - 1, generator)
    same = torch.stack(
        [place, own_start[place] + (place - own_start[place] + step) % own_size[place]]
    )
    place = torch.multinomial(different_weight, pairs, replacement=True, generator=generator)
    step = own_size[place] + below(total - own_size[place], generator)
    different = torch.stack([place, (own_start[place] + step) % total])
    one, other = order[torch.cat([same, different], 1)].to(group.device)
    return one, other
