"""Likelihoods against their closed forms, written out."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from pyro_mlvae import InputError, NormalLikelihood, make_likelihood
from pyro_mlvae.likelihoods import (
    LIKELIHOODS,
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    LearnedNormalLikelihood,
)

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
# Pixels from black to white, and decoder outputs from sure to unsure.
GREY = torch.linspace(0.0, 1.0, 11, dtype=torch.float64)
LOGITS = [-8.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 8.0]


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.0])
def test_the_normal_likelihood_is_a_normal_of_its_scale(scale):
    x, loc = torch.randn(2, 5, 3, dtype=torch.float64)
    expected = -((x - loc) ** 2) / (2 * scale**2) - math.log(scale) - HALF_LOG_TWO_PI
    torch.testing.assert_close(NormalLikelihood(scale)(loc).log_prob(x), expected)


def test_the_learned_normal_has_the_tanh_of_the_second_output_as_log_variance():
    x, loc, raw = 3.0 * torch.randn(3, 5, 3, dtype=torch.float64)
    log_variance = raw.tanh()
    expected = -0.5 * (x - loc) ** 2 / log_variance.exp() - 0.5 * log_variance - HALF_LOG_TWO_PI
    torch.testing.assert_close(LearnedNormalLikelihood()(loc, raw).log_prob(x), expected)


def test_the_learned_scale_stays_between_the_roots_of_1_over_e_and_e():
    raw = torch.tensor([-3e38, 0.0, 3e38], requires_grad=True)
    scale = LearnedNormalLikelihood()(torch.zeros(3), raw).stddev
    torch.testing.assert_close(scale, torch.tensor([math.exp(-0.5), 1.0, math.exp(0.5)]))
    scale.sum().backward()
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("logit", LOGITS)
def test_the_bernoulli_of_grey_values_is_the_cross_entropy_under_validation(logit):
    logits = torch.full_like(GREY, logit)
    p = logits.sigmoid()
    expected = GREY * p.log() + (1 - GREY) * (1 - p).log()
    bernoulli = BernoulliLikelihood()(logits)
    torch.testing.assert_close(bernoulli.log_prob(GREY), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        bernoulli.log_prob(GREY), -binary_cross_entropy_with_logits(logits, GREY, reduction="none")
    )


def test_the_bernoulli_still_validates_and_keeps_grey_support_in_every_shape():
    # Pyro expands a distribution to its plates and makes its last dimensions an event.
    bernoulli = BernoulliLikelihood()(torch.zeros(2, 3)).expand([4, 2, 3]).to_event(2)
    grey = torch.full((4, 2, 3), 0.3)
    torch.testing.assert_close(bernoulli.log_prob(grey), torch.full((4,), 6 * math.log(0.5)))
    with pytest.raises(ValueError, match="support"):
        bernoulli.log_prob(grey + 1.0)


def test_draws_of_the_bernoulli_are_black_or_white():
    draws = BernoulliLikelihood()(torch.zeros(1000)).sample()
    assert set(draws.tolist()) == {0.0, 1.0}


def integral(likelihood, logit):
    """Of the density over [0, 1], by the trapezoid rule in steps of 1e-5: an error below 1e-8."""
    x = torch.linspace(0.0, 1.0, 100_001, dtype=torch.float64)
    density = likelihood(torch.full_like(x, logit)).log_prob(x).exp()
    return float(torch.trapezoid(density, x))


@pytest.mark.parametrize("logit", LOGITS)
def test_the_continuous_bernoulli_is_a_density(logit):
    assert integral(ContinuousBernoulliLikelihood(), logit) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("logit", LOGITS)
def test_the_grey_bernoulli_is_no_density(logit):
    # At logit 0 it is 1/2 everywhere; its integral is smaller still elsewhere.
    assert integral(BernoulliLikelihood(), logit) < 0.5 + 1e-9


def test_the_continuous_bernoulli_is_a_truncated_exponential():
    # p(x) = l e^(l x) / (e^l - 1) at logit l: the Bernoulli's e^(l x), normalised.
    x, logit = torch.linspace(0.0, 1.0, 7, dtype=torch.float64), 1.5
    expected = math.log(logit / math.expm1(logit)) + logit * x
    got = ContinuousBernoulliLikelihood()(torch.full_like(x, logit)).log_prob(x)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["bernoulli", "continuous-bernoulli"])
@pytest.mark.parametrize(("low", "high"), [(-0.01, 1.0), (0.0, 1.01), (0.0, 255.0), (-1.0, 1.0)])
def test_values_outside_0_and_1_are_refused_by_both_bernoullis(name, low, high):
    words = name.replace("-", " ")
    sentence = rf"a {words} likelihood takes x in \[0, 1\], got values from {low:.4g} to {high:.4g}"
    with pytest.raises(InputError, match=f"(?i){sentence}"):
        make_likelihood(name).check(torch.tensor([[low, 0.5], [high, 0.5]]))


@pytest.mark.parametrize("name", sorted(LIKELIHOODS.keys() - {"counts"}))
def test_values_in_0_and_1_with_both_ends_are_taken_by_every_likelihood(name):
    make_likelihood(name).check(GREY)


@pytest.mark.parametrize("name", ["normal", "normal-learned"])
def test_any_value_is_taken_by_the_normals(name):
    make_likelihood(name).check(torch.tensor([-1e30, 255.0]))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_makes_the_distribution_of_x_from_its_outputs(name):
    likelihood = make_likelihood(name)
    distribution = likelihood(*torch.randn(likelihood.outputs, 4, 2, 3))
    assert distribution.batch_shape == (4, 2, 3)
    assert distribution.log_prob(torch.rand(4, 2, 3).round()).shape == (4, 2, 3)


@pytest.mark.parametrize(
    ("name", "outputs", "units"),
    [
        ("normal", 1, "nats"),
        ("normal-learned", 2, "nats"),
        ("normal-per-feature", 1, "nats"),
        ("bernoulli", 1, "pseudo-nats"),
        ("continuous-bernoulli", 1, "nats"),
    ],
)
def test_only_the_grey_bernoulli_is_measured_in_pseudo_nats(name, outputs, units):
    likelihood = make_likelihood(name)
    assert (likelihood.outputs, likelihood.units) == (outputs, units)


@pytest.mark.parametrize("scale", [0.0, -0.1, math.nan])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(
        InputError, match="scale of a Normal likelihood must be positive and finite, got"
    ):
        NormalLikelihood(scale)


def test_an_unknown_likelihood_is_refused_with_the_nearest_name():
    with pytest.raises(
        InputError, match=r"unknown likelihood 'bernouli': did you mean 'bernoulli'\?"
    ):
        make_likelihood("bernouli")
