"""Scores of shots and query against the exact densities of the solved model."""

import math

import pytest
import torch
from pyro.distributions import Normal

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.evaluation import decoder_score, few_shot_accuracy, log_predictive
from pyro_mlvae.evaluation.few_shot import posterior_score
from pyro_mlvae.latents.encoding import encode, experts
from pyro_mlvae.solved import (
    LinearGaussian,
    LinearGaussianGuide,
    LinearGaussianModel,
    ThreeLevelGaussianGuide,
    ThreeLevelGaussianModel,
)
from pyro_mlvae.solved.three_level import ThreeLevelGaussian

QUERY = torch.tensor([0, 4, 8])
GIVEN = torch.tensor([[1, 2], [5, 6], [9, 10]])


def drawn(solved):
    """Four groups of four, drawn from the solved model."""
    batch = solved.sample(torch.tensor([4, 4, 4, 4]), seed=3)
    return GroupedDataset.from_arrays(batch.x, batch.group)


def log_evidence(solved, data, index):
    """The exact log density of sets of observations ``[..., members]``, each a group by itself."""
    sets = index.reshape(-1, index.shape[-1])
    group = torch.arange(len(sets)).repeat_interleave(sets.shape[1])
    return solved.log_evidence(data.batch(sets.flatten(), group)).reshape(index.shape[:-1])


def exact_predictive(solved, data, query, given):
    """log p(x_q | shots), every query with every set of shots."""
    shape = (len(query), len(given))
    both = torch.cat([given.expand(*shape, -1), query[:, None, None].expand(*shape, 1)], -1)
    return log_evidence(solved, data, both) - log_evidence(solved, data, given)


@pytest.fixture(params=["orthogonal", "correlated"])
def solved(request):
    return getattr(LinearGaussian, request.param)()


def test_the_score_of_the_exact_guide_is_the_bayes_factor_of_the_model(solved):
    data, guide = drawn(solved), LinearGaussianGuide.exact(solved)
    score = posterior_score(experts(guide, encode(guide, data)))(QUERY, GIVEN)
    alone = log_evidence(solved, data, QUERY[:, None])
    expected = exact_predictive(solved, data, QUERY, GIVEN) - alone[:, None]
    torch.testing.assert_close(score, expected, rtol=0.0, atol=1e-9)


def test_experts_that_have_the_prior_in_them_already_are_no_bayes_factor(solved):
    # What the paper's guide says of one observation where it is exact: q(C | x), the prior
    # included.
    data, guide = drawn(solved), LinearGaussianGuide.exact(solved)
    alone = encode(guide, data).content.base_dist
    score = posterior_score(Normal(alone.loc, alone.scale))(QUERY, GIVEN)
    exact = posterior_score(experts(guide, encode(guide, data)))(QUERY, GIVEN)
    assert (score - exact).abs().min() > 1e-3


@pytest.mark.parametrize("samples", [1, 3])
def test_every_draw_of_the_exact_guide_gives_the_predictive_density(solved, samples):
    data = drawn(solved)
    pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    for seed in range(3):
        found = decoder_score(*pair, data, samples=samples, seed=seed)(QUERY, GIVEN)
        expected = exact_predictive(solved, data, QUERY, GIVEN)
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-8)
    _, error = log_predictive(*pair, data, QUERY, GIVEN, samples=samples)
    assert (error < 1e-8).all() or samples == 1


def test_a_guide_that_is_wrong_of_style_gives_it_within_the_standard_error(solved):
    # Too wide a style, a proposal only: importance weights correct it.
    data, guide = drawn(solved), LinearGaussianGuide.exact(solved)
    with torch.no_grad():
        guide.encoder.style_log_scale.add_(0.5)
        guide.encoder.style.bias.add_(0.1)
    pair = LinearGaussianModel(solved), guide
    found, error = log_predictive(*pair, data, QUERY, GIVEN, samples=20_000)
    expected = exact_predictive(solved, data, QUERY, GIVEN).diagonal()
    assert (error > 1e-3).all()
    assert (error < 0.05).all()
    assert ((found - expected).abs() < 4 * error).all()


def test_the_standard_error_is_the_spread_over_seeds():
    solved = LinearGaussian.orthogonal()
    data, guide = drawn(solved), LinearGaussianGuide.exact(solved)
    with torch.no_grad():
        guide.encoder.style_log_scale.add_(0.5)
    pair = LinearGaussianModel(solved), guide
    runs = [log_predictive(*pair, data, QUERY, GIVEN, samples=200, seed=i) for i in range(100)]
    found, errors = (torch.stack(each) for each in zip(*runs, strict=True))
    # A standard deviation of 100 values is known to 7 %.
    torch.testing.assert_close(found.std(0), errors.mean(0), rtol=0.25, atol=0.0)


def test_three_levels_take_groups_one_by_one():
    solved = ThreeLevelGaussian.orthogonal()
    batch = solved.sample(torch.tensor([4, 4, 4, 4]), torch.tensor([0, 0, 1, 1]), seed=3)
    parent = {0: "a", 1: "a", 2: "b", 3: "b"}
    data = GroupedDataset.from_arrays(batch.x, batch.group, parent=parent)
    pair = ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved)
    found = decoder_score(*pair, data, samples=1)(QUERY, GIVEN)
    expected = exact_predictive(solved.two_level, data, QUERY, GIVEN)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-8)


def test_both_scores_of_the_exact_guide_choose_alike():
    solved = LinearGaussian.correlated()
    batch = solved.sample(torch.full((20,), 4), seed=1)
    data = GroupedDataset.from_arrays(batch.x, batch.group)
    model, guide = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    options = {"shots": 2, "episodes": 50, "seed": 2}
    posterior = few_shot_accuracy(experts(guide, encode(guide, data)), data.group, **options)
    decoder = few_shot_accuracy(decoder_score(model, guide, data, samples=1), data.group, **options)
    assert posterior == decoder
    assert 0.5 < posterior["accuracy"] < 1.0


def test_pairs_in_chunks_are_the_same_pairs(monkeypatch):
    solved = LinearGaussian.orthogonal()
    data = drawn(solved)
    pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    whole = decoder_score(*pair, data)(QUERY[None], GIVEN[None])
    monkeypatch.setattr("pyro_mlvae.evaluation.predictive._CHUNK", 1)
    in_chunks = decoder_score(*pair, data)(QUERY[None], GIVEN[None])
    assert whole.shape == (1, 3, 3)
    torch.testing.assert_close(whole, in_chunks, rtol=0.0, atol=1e-8)


def test_random_state_and_mode_are_left_alone_and_seeds_count():
    solved = LinearGaussian.orthogonal()
    data, guide = drawn(solved), LinearGaussianGuide.exact(solved)
    with torch.no_grad():
        guide.encoder.style_log_scale.add_(0.5)
    model = LinearGaussianModel(solved)
    before = torch.get_rng_state()
    first, one, other = (
        log_predictive(model, guide, data, QUERY, GIVEN, samples=5, seed=seed)[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, one)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    _, error = log_predictive(model, guide, data, QUERY, GIVEN, samples=1)
    assert all(math.isnan(e) for e in error)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"samples": 0}, "samples must be a positive whole number, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_what_is_no_number_of_draws_is_refused(options, sentence):
    solved = LinearGaussian.orthogonal()
    data = drawn(solved)
    pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    with pytest.raises(InputError, match=sentence):
        decoder_score(*pair, data, **options)
    with pytest.raises(InputError, match=sentence):
        log_predictive(*pair, data, QUERY, GIVEN, **options)
