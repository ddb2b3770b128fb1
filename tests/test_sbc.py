"""Simulation-based calibration: exact posteriors pass, guides made wrong fail."""

import json

import pyro
import pytest
import torch
from pyro import distributions as dist
from scaled import scaled
from scipy.stats import binom, chisquare
from torch import nn

from pyro_mlvae import MLVAE, GroupedBatch, InputError, MLPDecoder, MLPEncoder, ProductOfNormals
from pyro_mlvae.evaluation import check_sbc, run_sbc
from pyro_mlvae.evaluation.simulation import simulate
from pyro_mlvae.guides import VAEGuide
from pyro_mlvae.likelihoods import BernoulliLikelihood, Likelihood, ObservedLikelihood
from pyro_mlvae.models import VAE
from pyro_mlvae.solved import (
    LinearGaussian,
    LinearGaussianGuide,
    LinearGaussianModel,
    ThreeLevelGaussian,
    ThreeLevelGaussianGuide,
    ThreeLevelGaussianModel,
)


def two_levels():
    """The pair of correlated loadings, where style depends on content, and 60 ragged groups."""
    solved = LinearGaussian.correlated()
    batch = solved.sample(torch.tensor([1, 2, 5] * 20))
    return LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch


def three_levels():
    """60 super-groups of one or two groups."""
    solved = ThreeLevelGaussian.correlated()
    parent = torch.arange(60).repeat_interleave(torch.tensor([1, 2] * 30))
    batch = solved.sample(torch.tensor([1, 2, 5] * 30), parent)
    return ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved), batch


both = pytest.mark.parametrize("make", [two_levels, three_levels])


def checked(model, guide, batch, *, simulations=7, draws=49, seed=1):
    ranks = run_sbc(model, guide, batch, simulations=simulations, draws=draws, seed=seed)
    return check_sbc(ranks, draws=draws)


@both
def test_exact_posteriors_pass(make):
    found = checked(*make())
    assert found["ranks"] == 420
    for site in found["sites"].values():
        assert site["p"] > 0.01
        assert site["spread"] == pytest.approx(1.0, abs=0.15)


@both
@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_scales_that_are_wrong_by_a_fifth_fail_at_every_site(make, factor):
    model, guide, batch = make()
    found = checked(model, scaled(guide, factor), batch)
    sites = {"content", "style"} | ({"super_content"} if make is three_levels else set())
    assert set(found["sites"]) == sites
    for site in found["sites"].values():
        assert site["p"] < 0.01
        assert (site["spread"] > 1.1) == (factor < 1.0)


def test_a_style_that_ignores_content_fails_and_content_still_passes():
    model, guide, batch = two_levels()
    with torch.no_grad():
        guide.shift.zero_()
    found = checked(model, guide, batch)["sites"]
    assert found["style"]["p"] < 1e-6
    assert found["content"]["p"] > 0.01


def test_a_guide_that_does_not_look_at_x_passes():
    """The prior is calibrated, though it has learned nothing: what this test cannot see."""
    model, _, batch = two_levels()

    def prior(batch):
        with pyro.plate("groups", batch.num_groups):
            pyro.sample("content", model.content_prior(batch.groups))
        with pyro.plate("observations", len(batch)):
            pyro.sample("style", model.style_prior(batch.groups))

    found = checked(model, prior, batch)["sites"]
    assert min(site["p"] for site in found.values()) > 0.01


@both
def test_p_values_are_those_of_the_nominal_level(make):
    """Not too many small ones in 10 seeds of each dimension: 5 %, within 3 sd."""
    model, guide, _ = make()
    p, simulations = [], 1
    batch = LinearGaussian.correlated().sample(torch.tensor([1, 3] * 60))
    if make is three_levels:
        simulations = 2
        batch = ThreeLevelGaussian.correlated().sample(
            torch.tensor([1, 3] * 60), torch.arange(120) // 2
        )
    for seed in range(10):
        found = checked(model, guide, batch, draws=19, simulations=simulations, seed=seed)
        p += [value for site in found["sites"].values() for value in site["p_of_dimensions"]]
    p = torch.tensor(p)
    rate, error = (p < 0.05).float().mean(), (0.05 * 0.95 / len(p)) ** 0.5
    assert abs(rate - 0.05) < 3.0 * error
    assert abs(p.mean() - 0.5) < 3.0 * (1 / 12 / len(p)) ** 0.5


def test_the_test_is_scipys_chi_square_and_the_band_its_binomial():
    ranks = torch.randint(0, 50, (200, 3), generator=torch.Generator().manual_seed(0))
    found = check_sbc({"style": ranks}, draws=49, bins=5)
    style = found["sites"]["style"]
    expected = [torch.histc(own.double(), 5, -0.5, 49.5) for own in ranks.unbind(1)]
    assert style["histogram"] == [own.long().tolist() for own in expected]
    p = [chisquare(own).pvalue for own in expected]
    assert style["p_of_dimensions"] == pytest.approx(p, rel=1e-9)
    assert style["p"] == pytest.approx(min(1.0, 3 * min(p)))
    assert found["band"] == [binom.ppf(0.005, 200, 0.2), binom.ppf(0.995, 200, 0.2)]
    assert json.loads(json.dumps(found)) == found


def test_spread_is_one_for_uniform_ranks_and_counts_bias():
    uniform = torch.arange(100).remainder(20).unsqueeze(-1)
    assert check_sbc({"content": uniform}, draws=19)["sites"]["content"]["spread"] == pytest.approx(
        1.0
    )
    high = torch.full_like(uniform, 19)
    assert check_sbc({"content": high}, draws=19)["sites"]["content"]["spread"] > 2.5


def test_each_simulated_group_gives_one_rank_and_each_super_group_where_there_are_such():
    model, guide, batch = two_levels()
    ranks = run_sbc(model, guide, batch, simulations=2, draws=3)
    assert {site: list(rank.shape) for site, rank in ranks.items()} == {
        "content": [120, 3],
        "style": [120, 2],
    }
    model, guide, batch = three_levels()
    ranks = run_sbc(model, guide, batch, simulations=2, draws=3)
    assert {len(rank) for rank in ranks.values()} == {120}
    assert all(rank.min() >= 0 and rank.max() == 3 for rank in ranks.values())


def test_it_is_fixed_by_its_seed_and_leaves_the_callers_state_alone():
    model, guide, batch = two_levels()
    guide.train()
    before = torch.get_rng_state()
    first = run_sbc(model, guide, batch, simulations=1, draws=3, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert guide.training
    torch.rand(7)
    again = run_sbc(model, guide, batch, simulations=1, draws=3, seed=1)
    assert all(torch.equal(first[site], again[site]) for site in first)
    other = run_sbc(model, guide, batch, simulations=1, draws=3, seed=2)
    assert not torch.equal(first["style"], other["style"])
    elsewhere = GroupedBatch(batch.x + 9.0, batch.group, batch.num_groups)
    again = run_sbc(model, guide, elsewhere, simulations=1, draws=3, seed=1)
    assert torch.equal(first["style"], again["style"])


def test_images_under_a_bernoulli_are_drawn_as_they_are_and_a_vae_has_a_rank_an_observation():
    decoder = MLPDecoder((2, 3, 3), content_dim=2, style_dim=1)
    encoder = MLPEncoder((2, 3, 3), content_dim=2, style_dim=1)
    batch = GroupedBatch(torch.rand(6, 2, 3, 3), torch.tensor([0, 0, 0, 1, 1, 1]), 2)
    model, guide = MLVAE(decoder, BernoulliLikelihood(), 2, 1), ProductOfNormals(encoder)
    assert len(run_sbc(model, guide, batch, simulations=1, draws=2)["content"]) == 2
    vae, of_vae = VAE(decoder, BernoulliLikelihood(), 2, 1), VAEGuide(encoder)
    assert len(run_sbc(vae, of_vae, batch.singletons(), simulations=1, draws=2)["content"]) == 6
    with pytest.raises(InputError, match="must be of the batch's size 2, got 6"):
        run_sbc(vae, of_vae, batch)


class Undrawable(Likelihood):
    """A density that nobody can draw from."""

    def forward(self, loc):
        class Density(dist.Normal):
            def sample(self, sample_shape=()):
                raise NotImplementedError

            rsample = sample
            __call__ = sample

        return Density(loc, 1.0)


def test_models_that_cannot_be_simulated_are_refused_in_a_sentence():
    model, guide, batch = two_levels()
    model.likelihood = Undrawable()
    with pytest.raises(InputError, match=r"must be able to draw x .* define it"):
        run_sbc(model, guide, batch)

    class Elsewhere(LinearGaussianModel):
        def forward(self, batch):
            self.draw_content(batch)

    with pytest.raises(
        InputError, match=r"must observe x at the site 'x', got the sites .'content'"
    ):
        run_sbc(Elsewhere(LinearGaussian.correlated()), guide, batch)
    broken = LinearGaussianModel(LinearGaussian.correlated())
    broken.decoder = nn.Module()
    broken.decoder.forward = lambda content, style: (
        torch.full((len(batch), 16), torch.nan).double(),
    )
    with pyro.validation_enabled(False), pytest.raises(InputError, match="x must be finite"):
        run_sbc(broken, guide, batch)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"simulations": 0}, "simulations must be a positive whole number, got 0"),
        ({"draws": -1}, "draws must be a positive whole number, got -1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        run_sbc(*two_levels(), **wrong)


@pytest.mark.parametrize(
    ("ranks", "settings", "sentence"),
    [
        ({"style": torch.zeros(99, 1)}, {"draws": 20}, "divide draws . 1 = 21, .* got 10"),
        ({"style": torch.zeros(99, 1)}, {"draws": 9, "bins": 1}, "at least 2 .* got 1"),
        (
            {"style": torch.zeros(49, 1)},
            {"draws": 9},
            "at least 50 .* got .49.: simulate more groups",
        ),
        ({}, {"draws": 9}, "got no site"),
        (
            {"style": torch.full((50, 1), 10)},
            {"draws": 9},
            "'style' must lie in 0..draws = 0..9, .* 10",
        ),
    ],
)
def test_ranks_that_cannot_be_tested_are_refused(ranks, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        check_sbc({site: rank.long() for site, rank in ranks.items()}, **settings)


def test_what_is_missing_is_missing_in_the_data_that_is_drawn():
    solved = LinearGaussian.correlated()
    batch = solved.sample(torch.tensor([2] * 5))
    hidden = torch.rand(batch.x.shape) < 0.5
    batch = batch.with_tensors({**batch.tensors(), "x": batch.x.masked_fill(hidden, torch.nan)})
    model = LinearGaussianModel(solved)
    model.likelihood = ObservedLikelihood(model.likelihood)
    _, drawn = simulate(model, batch)
    assert torch.equal(drawn.x.isnan(), hidden)
    assert not torch.equal(drawn.x[~hidden], batch.x[~hidden])
