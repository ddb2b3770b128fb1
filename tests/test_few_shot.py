"""Few-shot classification and verification: the score is its integral, noise is chance."""

import math

import numpy as np
import pytest
import torch
from pyro.distributions import Normal
from scipy.integrate import quad
from scipy.stats import norm

from pyro_mlvae import InputError
from pyro_mlvae.evaluation.episodes import distinct, draw_episodes, most_ways
from pyro_mlvae.evaluation.few_shot import (
    few_shot_accuracy,
    log_evidence_ratio,
    nearest_neighbour_accuracy,
)
from pyro_mlvae.evaluation.verification import nearest_neighbour_auc, verification_auc


def log_integral(experts):
    """log of the integral of the prior times the experts, over one dimension of content."""

    def log_integrand(c):
        return norm.logpdf(c) + sum(norm.logpdf(c, loc, scale) for loc, scale in experts)

    # The integrand is a bell about the product's loc: taken relative to its height there.
    precision = 1.0 + sum(scale**-2 for _, scale in experts)
    loc = sum(loc / scale**2 for loc, scale in experts) / precision
    height, width = log_integrand(loc), 12.0 / math.sqrt(precision)
    value, _ = quad(
        lambda c: math.exp(log_integrand(c) - height),
        loc - width,
        loc + width,
        epsabs=0.0,
        epsrel=1e-12,
    )
    return height + math.log(value)


@pytest.mark.parametrize("shots", [1, 2, 5])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_the_score_is_the_ratio_of_integrals(shots, spread):
    rng = np.random.default_rng(shots)
    query = (spread * rng.normal(), rng.uniform(0.05, 3.0))
    given = [(spread * rng.normal(), rng.uniform(0.05, 3.0)) for _ in range(shots)]
    expected = log_integral([query, *given]) - log_integral([query]) - log_integral(given)
    query, given = (torch.tensor(expert, dtype=torch.float64) for expert in (query, given))
    score = log_evidence_ratio(query[:1], query[1:], given[:, :1], given[:, 1:])
    assert float(score) == pytest.approx(expected, rel=0.0, abs=1e-8)


def random_experts(*shape):
    return torch.randn(*shape).double(), (0.5 * torch.randn(*shape)).exp().double()


def test_the_score_of_many_dimensions_is_the_sum_of_theirs():
    (q_loc, q_scale), (s_loc, s_scale) = random_experts(3), random_experts(2, 3)
    whole = log_evidence_ratio(q_loc, q_scale, s_loc, s_scale)
    parts = [
        log_evidence_ratio(q_loc[i], q_scale[i], s_loc[:, i], s_scale[:, i])
        for i in (slice(0, 1), slice(1, 3))
    ]
    torch.testing.assert_close(whole, sum(parts))


def test_leading_dimensions_broadcast():
    (q_loc, q_scale), (s_loc, s_scale) = random_experts(6, 1, 3), random_experts(4, 2, 3)
    scores = log_evidence_ratio(q_loc, q_scale, s_loc, s_scale)
    assert scores.shape == (6, 4)
    alone = log_evidence_ratio(q_loc[5, 0], q_scale[5, 0], s_loc[2], s_scale[2])
    torch.testing.assert_close(scores[5, 2], alone)


def test_the_score_is_symmetric_in_query_and_shot():
    (a_loc, a_scale), (b_loc, b_scale) = random_experts(9, 3), random_experts(9, 3)
    forth = log_evidence_ratio(a_loc, a_scale, b_loc[:, None], b_scale[:, None])
    back = log_evidence_ratio(b_loc, b_scale, a_loc[:, None], a_scale[:, None])
    torch.testing.assert_close(forth, back)


def test_experts_that_know_nothing_score_nothing():
    loc = torch.randn(5, 3).double()
    vague = torch.full_like(loc, 1e6)
    score = log_evidence_ratio(loc, vague, loc[:, None], vague[:, None])
    torch.testing.assert_close(score, torch.zeros(5).double(), rtol=0.0, atol=1e-9)


def groups(number=12, size=8):
    return torch.arange(number).repeat_interleave(size)[torch.randperm(number * size)]


@pytest.mark.parametrize("shots", [1, 5])
def test_groups_that_are_far_apart_are_always_told_apart(shots):
    group = groups()
    loc = 10.0 * torch.randn(12, 3)[group] + 0.01 * torch.randn(len(group), 3)
    expert = Normal(loc, torch.full_like(loc, 0.02))
    perfect = {"accuracy": 1.0, "standard_error": 0.0}
    assert few_shot_accuracy(expert, group, shots=shots, episodes=200) == perfect
    assert nearest_neighbour_accuracy(loc, group, shots=shots, episodes=200) == perfect
    assert verification_auc(expert, group) == pytest.approx(1.0, abs=1e-12)
    assert nearest_neighbour_auc(loc, group) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (3, 4)])
def test_noise_gives_chance(ways, shots):
    # New noise for so many groups, so that episodes share next to nothing.
    group = groups(1000, 6)
    loc, scale = random_experts(len(group), 2)
    for result in (
        few_shot_accuracy(Normal(loc, scale), group, ways=ways, shots=shots, episodes=2000),
        nearest_neighbour_accuracy(loc, group, ways=ways, shots=shots, episodes=2000),
    ):
        assert abs(result["accuracy"] - 1 / ways) < 4 * result["standard_error"]
        # Its error is that of 2,000 episodes of `ways` queries each, which are not quite
        # independent.
        binomial = math.sqrt((1 - 1 / ways) / ways / (2000 * ways))
        assert 0.5 * binomial < result["standard_error"] < 2.0 * binomial
    # The error of an AUC of 20,000 pairs of either kind is 0.003.
    assert verification_auc(Normal(loc, scale), group) == pytest.approx(0.5, abs=0.015)
    assert nearest_neighbour_auc(loc, group) == pytest.approx(0.5, abs=0.015)


def test_pairs_may_be_those_of_an_unseen_group_alone():
    # Group 0 stands far from all the others, which are not told apart at all.
    group = groups()
    loc = torch.where(group[:, None] == 0, 10.0, 0.0) + 0.1 * torch.randn(len(group), 2)
    expert, first = Normal(loc, torch.full_like(loc, 0.1)), group == 0
    assert verification_auc(expert, group, first=first) == pytest.approx(1.0, abs=1e-6)
    assert nearest_neighbour_auc(loc, group, first=first) == pytest.approx(1.0, abs=1e-6)
    assert verification_auc(expert, group) < 0.75
    alone = group == group.max() + 1
    with pytest.raises(InputError, match="verification needs two groups"):
        verification_auc(expert, group, first=alone)


def test_the_same_code_for_all_is_chance_and_not_success():
    group, loc = groups(), torch.zeros(96, 2)
    assert few_shot_accuracy(Normal(loc, loc + 1.0), group)["accuracy"] == pytest.approx(0.2)
    assert nearest_neighbour_accuracy(loc, group)["accuracy"] == pytest.approx(0.2)


def test_more_shots_help_where_single_ones_are_vague():
    group = groups()
    loc = torch.randn(12, 4)[group] + 0.8 * torch.randn(96, 4)
    expert = Normal(loc, torch.full_like(loc, 0.8))
    one, five = (few_shot_accuracy(expert, group, shots=shots)["accuracy"] for shots in (1, 5))
    assert one + 0.1 < five < 1.0


def test_scales_are_heeded_where_distances_mislead():
    # Each expert knows one of two dimensions and says so; in the other its loc is noise.
    group = groups(40, 6)
    knows = torch.rand(len(group), 2) < 0.5
    loc = torch.where(knows, torch.randn(40, 2)[group], 3.0 * torch.randn(len(group), 2))
    expert = Normal(loc, torch.where(knows, 0.05, 10.0))
    assert (
        few_shot_accuracy(expert, group)["accuracy"]
        > nearest_neighbour_accuracy(loc, group)["accuracy"] + 0.1
    )


def brute_force(expert, group, ways, shots, episodes, seed):
    """Episode by episode, query by query."""
    right = []
    for query, given in zip(*draw_episodes(group, ways, shots, episodes, seed), strict=True):
        for own, q in enumerate(query):
            scores = [
                log_evidence_ratio(expert.loc[q], expert.scale[q], expert.loc[s], expert.scale[s])
                for s in given
            ]
            right.append(float(int(torch.stack(scores).argmax()) == own))
    return torch.tensor(right, dtype=torch.float64).reshape(episodes, ways).mean(1)


def test_many_episodes_at_once_are_those_episodes_one_by_one(monkeypatch):
    group = groups()
    loc, scale = random_experts(96, 3)
    expert = Normal(loc + torch.randn(12, 3)[group], scale)
    episodes = brute_force(expert, group, 4, 2, 25, seed=3)
    expected = {
        "accuracy": pytest.approx(float(episodes.mean())),
        "standard_error": pytest.approx(float(episodes.std()) / 5.0),
    }
    options = {"ways": 4, "shots": 2, "episodes": 25, "seed": 3}
    assert few_shot_accuracy(expert, group, **options) == expected
    # And so whatever the number of episodes that are scored at a time.
    monkeypatch.setattr("pyro_mlvae.evaluation.few_shot._CHUNK", 1)
    assert few_shot_accuracy(expert, group, **options) == expected


def test_the_nearest_neighbour_is_the_nearest_of_all_the_shots():
    x = torch.tensor([[0.0], [10.0], [9.9], [0.1], [4.0], [4.0], [4.0], [4.0]])
    # Of three drawings of the first group two are far from their mean, which lies near the second.
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    result = nearest_neighbour_accuracy(x, group, ways=2, shots=3, episodes=50)
    assert result["accuracy"] == 1.0


def test_episodes_are_of_distinct_groups_and_distinct_observations():
    group = torch.tensor([7, 7, 7, 3, 3, 3, 3, 5, 5, 9, 9, 9, 9, 9])
    query, given = draw_episodes(group, 3, 2, 500, 0)
    assert (query.shape, given.shape) == ((500, 3), (500, 3, 2))
    own = group[query]
    assert torch.equal(group[given], own[..., None].expand(-1, -1, 2))
    assert set(own.flatten().tolist()) == {3, 7, 9}  # the group of two has none left for a query
    assert (own.sort(1).values.diff(dim=1) > 0).all()
    members = torch.cat([query[..., None], given], -1)
    assert (members.sort(-1).values.diff(dim=-1) > 0).all()


def test_episodes_within_a_super_group_draw_all_their_groups_from_one():
    group = torch.arange(9).repeat_interleave(4)[torch.randperm(36)]
    # Of 2, 3 and 4 groups: the first is too small for three ways.
    within = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 2])[group]
    query, given = draw_episodes(group, 3, 2, 2000, 0, within)
    own = group[query]
    assert torch.equal(group[given], own[..., None].expand(-1, -1, 2))
    assert (own.sort(1).values.diff(dim=1) > 0).all()
    chosen = within[query]
    assert (chosen == chosen[:, :1]).all()
    # Both that are large enough are as likely, whatever their size, and so are the groups of each.
    counts = torch.bincount(chosen[:, 0], minlength=3)
    assert counts[0] == 0
    assert abs(int(counts[1]) - 1000) < 5 * math.sqrt(500)
    times = torch.bincount(own[chosen[:, 0] == 2].flatten())[5:]
    assert (times - 0.75 * counts[2]).abs().max() < 5 * math.sqrt(0.1875 * counts[2])
    assert most_ways(group, 2, within) == 4
    assert (most_ways(group, 3), most_ways(group, 4), most_ways(group, 4, within)) == (9, 0, 0)


def test_too_few_groups_in_every_super_group_are_refused():
    group = torch.arange(9).repeat_interleave(4)
    with pytest.raises(InputError, match="in one super-group, but no super-group has more than 3"):
        draw_episodes(group, 5, 2, 10, 0, within=group // 3)


def test_distinct_values_are_uniform_over_all_their_orders():
    counts = torch.full((60_000,), 4)
    chosen = distinct(counts, 3, torch.Generator().manual_seed(0))
    _, times = torch.unique(chosen, dim=0, return_counts=True)
    assert len(times) == 24
    assert (times - 2500).abs().max() < 5 * math.sqrt(2500)


def test_pairs_are_uniform_over_all_pairs(monkeypatch):
    seen = {}

    def look(query_loc, query_scale, shots_loc, shots_scale):
        seen["one"], seen["other"] = query_loc[:, 0].long(), shots_loc[:, 0, 0].long()
        return torch.zeros(len(query_loc)).double()

    monkeypatch.setattr("pyro_mlvae.evaluation.verification.log_evidence_ratio", look)
    group = torch.tensor([4, 1, 4, 4, 8, 1])
    number = torch.arange(6.0)[:, None]
    assert verification_auc(Normal(number, number + 1), group, pairs=60_000) == 0.5
    one, other = seen["one"].reshape(2, -1), seen["other"].reshape(2, -1)
    for same, (first, second), count in zip(
        (True, False), zip(one, other, strict=True), (8, 22), strict=True
    ):
        assert ((group[first] == group[second]) == same).all()
        assert (first != second).all()
        _, times = torch.unique(6 * first + second, return_counts=True)
        assert len(times) == count
        assert (times - 60_000 / count).abs().max() < 5 * math.sqrt(60_000 / count)


def test_equal_seeds_give_equal_episodes_and_others_others():
    group = groups()
    loc, scale = random_experts(96, 3)
    expert = Normal(loc, scale)
    first = few_shot_accuracy(expert, group, seed=1)
    assert few_shot_accuracy(expert, group, seed=1) == first
    assert few_shot_accuracy(expert, group, seed=2) != first
    assert verification_auc(expert, group, seed=1) == verification_auc(expert, group, seed=1)


def test_the_callers_random_state_is_left_alone():
    group = groups()
    before = torch.get_rng_state()
    expert = Normal(torch.zeros(96, 1), torch.ones(96, 1))
    few_shot_accuracy(expert, group)
    verification_auc(expert, group)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ways": 13}, r"13-way 1-shot episodes need 13 groups of at least 2 .* only 12 of 12"),
        (
            {"shots": 8},
            r"5-way 8-shot .* need 5 groups of at least 9 .* only 0 of 12 .* largest has 8",
        ),
        ({"ways": 0}, "ways must be a positive whole number, got 0"),
        ({"shots": -1}, "shots must be a positive whole number, got -1"),
        ({"episodes": 0}, "episodes must be a positive whole number, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
    ids=str,
)
def test_episodes_that_cannot_be_drawn_are_refused(options, sentence):
    group, loc = groups(), torch.zeros(96, 1)
    with pytest.raises(InputError, match=sentence):
        few_shot_accuracy(Normal(loc, loc + 1.0), group, **options)
    with pytest.raises(InputError, match=sentence):
        nearest_neighbour_accuracy(loc, group, **options)


@pytest.mark.parametrize("group", [[0, 0, 0], [0, 1, 2]], ids=["one group", "singletons"])
def test_verification_without_pairs_of_either_kind_is_refused(group):
    expert = Normal(torch.zeros(3, 1), torch.ones(3, 1))
    with pytest.raises(InputError, match="verification needs two groups"):
        verification_auc(expert, torch.tensor(group))
