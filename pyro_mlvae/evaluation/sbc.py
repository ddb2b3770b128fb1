r"""Simulation-based calibration: is the guide the posterior of its own model?

Draw latents from the model's priors and x from the model, then L times the latents from the guide
given that x. If the guide is the exact posterior, the rank of each true value among the L draws is
uniform on 0..L:

.. math:: z \sim p(z), \quad x \sim p(x \mid z), \quad z^1, \dots, z^L \sim q(z \mid x), \qquad
    r = \#\{l : z^l < z\}

A histogram of ranks that is high at both ends is a guide too sure of itself, one that is high in
the middle a guide too unsure, and one that leans to a side a guide that is biased.

The test needs independent ranks. Styles of one group share the draw of its content, and contents of
one super-group share the draw of its own. So every simulated group, or super-group where there are
such, gives one rank a site: that of one member, chosen at random. Dimensions of one member need not
be independent, so each is tested by itself, and the smallest p value is corrected for their number
(Bonferroni). Ranks by dimension say nothing of how the guide's dimensions depend on each other.

References: Talts, Betancourt, Simpson, Vehtari, Gelman (2018), arXiv 1804.06788; for the uses of
ranks of amortised posteriors see Säilynoja, Bürkner, Vehtari (2022), arXiv 2103.10522.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int64
from pyro import poutine
from pyro.poutine.trace_struct import Trace
from torch import Tensor
from torch.distributions import Binomial

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.grouping import random_rank
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.estimators.group_weights import GROUPS, SUPER_GROUPS, group_frame, membership
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import Program, seeded
from pyro_mlvae.evaluation.simulation import simulate

# The share of bars that lie in the band where the guide is right: that of Talts et al.
BAND = 0.99
# Fewer ranks a bin, and the chi-square distribution is no longer that of the test.
LEAST_IN_BIN = 5


def run_sbc(
    model: Program,
    guide: Program,
    batch: GroupedBatch,
    *,
    simulations: int = 10,
    draws: int = 99,
    seed: int = 0,
) -> dict[str, Int64[Tensor, "ranks dimensions"]]:
    """The rank of true latents among draws from the guide, in data that the model itself has made.

    Args:
        model: the model, whose x is observed at the site "x".
        guide: its guide; only draws from it are used, so it may be of any family.
        batch: the groups to simulate: their sizes, super-groups and fields. Of its x only NaN
            counts.
        simulations: how many times all these groups are simulated.
        draws: L, the number of draws from the guide for each simulation.
        seed: of every draw.

    Returns:
        For each site of the guide, ranks from 0 to ``draws``, one row a simulated group (a
        simulated super-group where there are latents of those) and one column a dimension, on the
        CPU.

    Raises:
        InputError: the model has no observed site "x", x cannot be drawn, or a site stands in none
            of the plates.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal(content_dim=3, style_dim=2)
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> ranks = run_sbc(*pair, solved.sample(torch.tensor([2, 5, 3])), simulations=4, draws=9)
    >>> {site: list(found.shape) for site, found in ranks.items()}
    {'content': [12, 3], 'style': [12, 2]}
    """
    require_positive(simulations=simulations, draws=draws)
    require_seed(seed)
    # The choice of members shares nothing with the draws of their values.
    generator = torch.Generator().manual_seed(mixed_seed(seed, 1))
    ranks: dict[str, list[Tensor]] = {}
    with seeded(model, guide, device=batch.x.device, seed=seed):
        for _ in range(simulations):
            truth, seen = simulate(model, batch)
            chosen: dict[str, Tensor] = {}
            below: dict[str, Any] = {}
            for _ in range(draws):
                drawn = poutine.trace(guide).get_trace(seen)
                chosen = chosen or _independent(drawn, truth, seen, generator)
                for site, index in chosen.items():
                    smaller = _rows(drawn, site, index) < _rows(truth, site, index)
                    below[site] = below.get(site, 0) + smaller.long()
            for site, rank in below.items():
                ranks.setdefault(site, []).append(rank.cpu())
    return {site: torch.cat(found) for site, found in ranks.items()}


def check_sbc(
    ranks: Mapping[str, Int64[Tensor, "ranks dimensions"]], *, draws: int, bins: int = 10
) -> dict[str, Any]:
    """Test whether ranks are uniform, by a chi-square test of their histogram.

    Args:
        ranks: what :func:`run_sbc` returns: rows that are independent.
        draws: L, as it was given there.
        bins: of the histogram; they must divide L + 1, so that each holds as many ranks.

    Returns:
        ``{"ranks": number, "draws": L, "bins": bins, "band": [low, high], "sites": {site: ...}}``.
        The band holds 99 % of all bars where ranks are uniform. Of each site there are ``p``, the p
        value of all its dimensions together (Bonferroni); ``p_of_dimensions``; ``histogram``, the
        counts of each dimension; and ``spread``, the mean squared distance of ranks from the middle
        as a multiple of what it is where they are uniform: above 1 where the guide is too sure of
        itself or biased, below 1 where it is too unsure.

    Raises:
        InputError: there are too few ranks for the test, one is not in 0..L, or bins do not divide
            L + 1.

    >>> ranks = {"content": torch.arange(100).remainder(20).unsqueeze(-1)}
    >>> check_sbc(ranks, draws=19)["sites"]["content"]["p"]
    1.0
    """
    require_positive(draws=draws, bins=bins)
    if bins < 2 or (draws + 1) % bins:
        raise InputError(
            f"bins must be at least 2 and divide draws + 1 = {draws + 1}, so that each bin holds "
            f"as many ranks, got {bins}: choose another number of draws or of bins"
        )
    numbers = {len(rank) for rank in ranks.values()}
    if len(numbers) != 1 or min(numbers) < LEAST_IN_BIN * bins:
        raise InputError(
            f"ranks must hold, for every site, as many rows and at least {LEAST_IN_BIN * bins} "
            f"(that is {LEAST_IN_BIN} a bin), got {sorted(numbers) or 'no site'}: simulate more "
            "groups"
        )
    for site, rank in ranks.items():
        if int(rank.min()) < 0 or int(rank.max()) > draws:
            raise InputError(
                f"ranks of {site!r} must lie in 0..draws = 0..{draws}, got values from "
                f"{int(rank.min())} to {int(rank.max())}: pass the number of draws that "
                "run_sbc was given"
            )
    (number,) = numbers
    return {
        "ranks": number,
        "draws": draws,
        "bins": bins,
        "band": _band(number, bins),
        "sites": {site: _check_site(rank, draws, bins) for site, rank in ranks.items()},
    }


def _independent(
    drawn: Trace, truth: Trace, batch: GroupedBatch, generator: torch.Generator
) -> dict[str, Tensor]:
    """For each site that is ranked, one member of each independent unit, chosen at random."""
    plate = {
        name: group_frame(name, site, batch).name
        for name, site in sample_sites(drawn)
        if not site["is_observed"] and name in truth.nodes
    }
    top = SUPER_GROUPS if SUPER_GROUPS in plate.values() else GROUPS
    chosen = {}
    for name, own in plate.items():
        if own == top:
            unit = torch.arange(batch.num_parents if own == SUPER_GROUPS else batch.num_groups)
        else:
            unit = membership(own, top, batch)[0].cpu()
        first = random_rank(unit, generator) == 0
        chosen[name] = first.nonzero().flatten().to(batch.x.device)
    return chosen


def _rows(trace: Trace, site: str, index: Tensor) -> Tensor:
    """The values of some members of a site, ``[members, dimensions]``."""
    value: Any = trace.nodes[site]["value"]
    return value.index_select(0, index).reshape(len(index), -1)


def _check_site(rank: Tensor, draws: int, bins: int) -> dict[str, Any]:
    number, dims = rank.shape
    bar = rank * bins // (draws + 1)
    histogram = torch.stack([column.bincount(minlength=bins) for column in bar.unbind(-1)])
    expected = number / bins
    chi_square = (histogram.double() - expected).square().sum(-1) / expected
    p = torch.special.gammaincc(torch.full_like(chi_square, (bins - 1) / 2), chi_square / 2)
    uniform = ((draws + 1) ** 2 - 1) / 12
    return {
        "p": min(1.0, dims * float(p.min())),
        "p_of_dimensions": p.tolist(),
        "histogram": histogram.tolist(),
        "spread": float((rank.double() - draws / 2).square().mean()) / uniform,
    }


def _band(number: int, bins: int) -> list[int]:
    """The counts between which 99 % of the bars lie, where ranks are uniform."""
    counts = torch.arange(number + 1, dtype=torch.float64)
    up_to = Binomial(number, torch.tensor(1.0 / bins).double()).log_prob(counts).exp().cumsum(0)
    tails = torch.tensor([(1.0 - BAND) / 2, (1.0 + BAND) / 2], dtype=torch.float64)
    return torch.searchsorted(up_to, tails).tolist()
