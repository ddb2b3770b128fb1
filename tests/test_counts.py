"""The likelihood of counts against scipy's negative binomial, alone and given the total."""

import numpy as np
import pyro
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import nbinom

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    GroupSampler,
    InputError,
    MLPDecoder,
    MLPEncoder,
    ProductOfNormals,
    fit,
)
from pyro_mlvae.evaluation import Reader, swap_metrics
from pyro_mlvae.evaluation.simulation import simulate
from pyro_mlvae.latents import decode, swap
from pyro_mlvae.likelihoods import CountsLikelihood, ObservedLikelihood, make_likelihood
from pyro_mlvae.likelihoods.counts import CountsNegativeBinomial
from pyro_mlvae.networks import LogCountsEncoder
from pyro_mlvae.plotting import run_figures
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.training.optimizer import fused_adam

FEATURES = 4


def likelihood_of(log_theta, **options):
    found = CountsLikelihood((FEATURES,), **options).double()
    found.log_inverse_dispersion.data = torch.as_tensor(log_theta, dtype=torch.float64)
    return found


def exactly(x, mean, log_theta):
    """scipy's log mass, element by element."""
    theta = np.exp(log_theta)
    return nbinom.logpmf(x, theta, theta / (theta + mean))


@pytest.fixture
def given():
    """Counts, decoder's outputs, log inverse dispersions and rates, from rare to many."""
    generator = np.random.default_rng(0)
    raw = generator.normal(0.0, 2.0, (50, FEATURES))
    x = generator.poisson(np.exp(raw) * 5.0).astype(float)
    x[0] = 0.0
    return x, raw, np.array([-3.0, 0.0, 2.0, 6.0]), np.array([0.5, 1.0, 7.0, 300.0])


def test_the_density_is_the_negative_binomial_of_that_mean_and_dispersion(given):
    x, raw, log_theta, rate = given
    found = likelihood_of(log_theta, rate=torch.as_tensor(rate))(torch.as_tensor(raw))
    expected = exactly(x, rate * np.exp(raw), log_theta)
    np.testing.assert_allclose(
        found.log_prob(torch.as_tensor(x)).detach(), expected, rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(found.mean.detach(), rate * np.exp(raw), rtol=1e-10)
    variance = rate * np.exp(raw) + (rate * np.exp(raw)) ** 2 / np.exp(log_theta)
    np.testing.assert_allclose(found.variance.detach(), variance, rtol=1e-10)


def test_given_the_total_means_are_shares_of_it(given):
    x, raw, log_theta, rate = given
    found = likelihood_of(log_theta, library_size=True, rate=torch.as_tensor(rate))(
        torch.as_tensor(raw)
    )
    share = rate * np.exp(raw)
    share /= share.sum(1, keepdims=True)
    expected = exactly(x, x.sum(1, keepdims=True) * share, log_theta).sum(1)
    there = x.sum(1) > 0
    got = found.log_prob(torch.as_tensor(x)).detach().numpy()
    np.testing.assert_allclose(got[there], expected[there], rtol=1e-10, atol=1e-10)
    # Of nothing at all, nothing is all that can be seen.
    assert not there[0]
    assert got[0] == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(found.mean.detach(), rate.sum() * share, rtol=1e-10)


@pytest.mark.parametrize("total", [1, 4, 9])
def test_given_the_total_the_masses_of_all_vectors_that_have_it_sum_to_its_probability(total):
    log_theta, raw = np.array([-1.0, 0.5, 2.0]), np.array([0.3, -0.7, 1.1])
    likelihood = CountsLikelihood((3,), library_size=True).double()
    likelihood.log_inverse_dispersion.data = torch.as_tensor(log_theta)
    x = np.array([(i, j, total - i - j) for i in range(total + 1) for j in range(total + 1 - i)])
    mass = (
        likelihood(torch.as_tensor(raw)).log_prob(torch.as_tensor(x).double()).exp().sum().detach()
    )
    each = exactly(
        np.arange(total + 1)[:, None], total * np.exp(raw) / np.exp(raw).sum(), log_theta
    )
    of_total = np.exp(each[:, 0])
    for column in np.exp(each).T[1:]:
        of_total = np.convolve(of_total, column)[: total + 1]
    assert float(mass) == pytest.approx(of_total[total], rel=1e-10)
    assert float(mass) < 1.0


@pytest.mark.parametrize("library_size", [False, True])
def test_gradients_equal_finite_differences_of_scipys_density(given, library_size):
    x, raw, log_theta, _ = (each[1:9] if each.ndim == 2 else each for each in given)
    likelihood = likelihood_of(log_theta, library_size=library_size)
    outputs = torch.as_tensor(raw).requires_grad_()
    likelihood(outputs).log_prob(torch.as_tensor(x)).sum().backward()

    def density(raw, log_theta):
        mean = np.exp(raw)
        if library_size:
            mean = x.sum(1, keepdims=True) * mean / mean.sum(1, keepdims=True)
        return exactly(x, mean, log_theta).sum()

    step = 1e-5
    for i in range(raw.size):
        change = np.zeros(raw.size)
        change[i] = step
        change = change.reshape(raw.shape)
        slope = (density(raw + change, log_theta) - density(raw - change, log_theta)) / (2 * step)
        assert float(outputs.grad.flatten()[i]) == pytest.approx(slope, rel=1e-6, abs=1e-6)
    for i in range(FEATURES):
        change = np.eye(FEATURES)[i] * step
        slope = (density(raw, log_theta + change) - density(raw, log_theta - change)) / (2 * step)
        assert float(likelihood.log_inverse_dispersion.grad[i]) == pytest.approx(
            slope, rel=1e-5, abs=1e-5
        )


def test_the_masses_of_all_counts_sum_to_one():
    x = torch.arange(4000.0, dtype=torch.float64)[:, None].expand(-1, FEATURES)
    masses = (
        likelihood_of([-1.0, 0.0, 2.0, 6.0])(torch.full((FEATURES,), 2.0).double())
        .log_prob(x)
        .exp()
    )
    torch.testing.assert_close(masses.sum(0), torch.ones(FEATURES, dtype=torch.float64))


def test_single_precision_is_exact_where_a_feature_is_nearly_poisson():
    theta, logits, x = (
        torch.tensor([1e5]),
        torch.tensor([np.log(20.0 / 1e5)]).float(),
        torch.tensor([17.0]),
    )
    found = CountsNegativeBinomial(theta, logits=logits).log_prob(x)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(exactly(17.0, 20.0, np.log(1e5)), abs=1e-5)


@pytest.mark.parametrize("library_size", [False, True])
def test_draws_have_the_mean_and_the_variance_that_are_said(library_size):
    rate = torch.tensor([1.0, 2.0, 4.0, 8.0])
    likelihood = likelihood_of([0.0, 1.0, 2.0, 3.0], library_size=library_size, rate=rate)
    found = likelihood(torch.zeros(20_000, FEATURES).double())
    draws = found.sample()
    expected = found.mean[0].detach(), found.variance[0].detach()
    torch.testing.assert_close(draws.mean(0), expected[0], rtol=0.05, atol=0.0)
    torch.testing.assert_close(draws.var(0), expected[1], rtol=0.15, atol=0.0)


@pytest.mark.parametrize(("x", "value"), [([[0.0, -1.0]], "-1"), ([[0.5, 1.0]], "0.5")])
def test_what_is_no_count_is_refused(x, value):
    with pytest.raises(
        InputError, match=rf"takes whole numbers of at least 0, got {value}: give raw"
    ):
        make_likelihood("counts", (2,)).check(torch.tensor(x))
    with pytest.raises(ValueError, match="support"):
        CountsLikelihood((2,), library_size=True)(torch.zeros(1, 2)).log_prob(torch.tensor(x))
    make_likelihood("counts", (2,)).check(torch.tensor([[0.0, 16e6]]))


def test_library_size_goes_with_vectors_of_counts_alone():
    assert make_likelihood("counts", (3,), library_size=True).library_size
    with pytest.raises(InputError, match=r"got observations of shape \[1, 8, 8\]"):
        make_likelihood("counts", (1, 8, 8), library_size=True)
    with pytest.raises(
        InputError, match="library_size is a setting of the likelihood 'counts', got likel"
    ):
        make_likelihood("normal", (3,), library_size=True)


def test_missing_counts_are_left_out_one_by_one_and_not_given_a_total():
    x = torch.tensor([[1.0, np.nan, 3.0, 0.0]], dtype=torch.float64)
    whole = likelihood_of(np.zeros(FEATURES))
    got = ObservedLikelihood(whole)(torch.zeros(1, FEATURES).double()).log_prob(x)
    expected = exactly(np.array([1.0, 0.0, 3.0, 0.0]), 1.0, 0.0) * np.array([1.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(got.detach()[0], expected, rtol=1e-10)
    with pytest.raises(
        InputError, match="missing values need a likelihood that takes values one by one"
    ):
        ObservedLikelihood(likelihood_of(np.zeros(FEATURES), library_size=True))(
            torch.zeros(1, FEATURES)
        )


@pytest.mark.parametrize("library_size", [False, True])
def test_counts_train_and_dispersions_are_learned(library_size):
    generator = np.random.default_rng(0)
    theta = 3.0
    means = np.array([5.0, 20.0, 40.0, 80.0])
    x = torch.as_tensor(
        generator.negative_binomial(theta, theta / (theta + means), (300, FEATURES))
    ).float()
    data = GroupedDataset.from_arrays(x, np.arange(300) % 30)
    pyro.set_rng_seed(0)
    likelihood = CountsLikelihood((FEATURES,), library_size, x.mean(0))
    model = MLVAE(MLPDecoder((FEATURES,), 1, 1, hidden=(8,)), likelihood, 1, 1)
    guide = ProductOfNormals(LogCountsEncoder(MLPEncoder((FEATURES,), 1, 1, hidden=(8,))))
    history = fit(model, guide, GroupSampler(data, 30), epochs=30, optimizer=fused_adam(0.03))
    assert history.eager is None
    assert history.epochs[-1].objective > history.epochs[0].objective
    assert (likelihood.log_inverse_dispersion > 0.1).all()


def test_the_encoder_sees_the_logarithms_of_counts():
    encoder = MLPEncoder((2,), 1, 1, hidden=(4,))
    x = torch.tensor([[0.0, 9.0]])
    assert torch.equal(LogCountsEncoder(encoder)(x), encoder((1.0 + x).log()))


# --- what is decoded, and what is drawn


@pytest.fixture
def of_shares():
    """A model given totals, content and style log shares, and cells of 10 to 1,000 counts."""

    class Shares(torch.nn.Module):
        def forward(self, content, style):
            return (content + style,)

    x = torch.tensor([[5.0, 4.0, 1.0, 0.0], [50.0, 20.0, 20.0, 10.0], [700.0, 100.0, 100.0, 100.0]])
    likelihood = CountsLikelihood((FEATURES,), library_size=True, rate=x.mean(0))
    return MLVAE(Shares(), likelihood, FEATURES, FEATURES), x


def test_swaps_have_the_totals_of_what_gave_the_styles(of_shares):
    model, x = of_shares
    content, style = torch.randn(2, FEATURES), torch.randn(3, FEATURES)
    mean = swap(model, content, style)
    torch.testing.assert_close(mean.sum(-1), x.sum(1).mean().expand(2, 3))
    like = swap(model, content, style, x)
    torch.testing.assert_close(like.sum(-1), x.sum(1).expand(2, 3))
    torch.testing.assert_close(like / like.sum(-1, keepdim=True), mean / mean.sum(-1, keepdim=True))
    # Without library_size a likelihood says itself how many there are.
    model.likelihood = CountsLikelihood((FEATURES,))
    assert torch.equal(swap(model, content, style, x), swap(model, content, style))


def test_swaps_that_are_measured_have_the_totals_of_their_styles():
    """A label that is in the total alone is the style donor's in every swap."""
    generator = np.random.default_rng(0)
    label = np.arange(400) % 2
    x = generator.poisson(np.array([20.0, 200.0])[label][:, None], (400, FEATURES))
    data = GroupedDataset.from_arrays(x.astype("f4"), np.arange(400) % 20, label)
    config = RunConfig(
        likelihood="counts", library_size=True, content_dim=2, style_dim=2, hidden=(8,)
    )
    pair = config.build((FEATURES,), config.scaling(data))
    found = swap_metrics(*pair, data, Reader.train(data), ks=(1,), swaps=200)
    assert found["style_donor"]["1"] > 0.95
    assert found["consistency"]["1"] < 0.05


def test_drawn_reconstructions_have_their_own_totals_and_swaps_their_styles(monkeypatch):
    shown = {}
    for name in ("reconstructions", "swap_grid"):
        monkeypatch.setattr(
            run_figures, name, lambda *x, name=name, **_: shown.update({name: x}) or Figure()
        )
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0], [5.0, 5.0, 5.0, 5.0]])
    data = GroupedDataset.from_arrays(x, ["ann", "bob", "cem"])
    config = RunConfig(
        likelihood="counts", library_size=True, content_dim=2, style_dim=2, hidden=(8,)
    )
    pair = config.build((FEATURES,), config.scaling(data))
    run_figures.reconstruction_figure(*pair, data)
    run_figures.swap_figure(*pair, data)
    own, of_single, of_group = shown["reconstructions"]
    for decoded in (of_single, of_group):
        torch.testing.assert_close(decoded.sum(-1), own.sum(-1))
    _, styles, grid = shown["swap_grid"]
    torch.testing.assert_close(grid.sum(-1), styles.sum(-1).expand(3, 3))


def test_a_model_that_is_given_totals_draws_no_data(of_shares):
    model, x = of_shares
    batch = GroupedDataset.from_arrays(x, ["ann", "bob", "ann"]).batch()
    with pytest.raises(
        InputError, match="library_size it takes the total of each observation as given"
    ):
        simulate(model, batch)
    assert decode(model, torch.zeros(FEATURES), torch.zeros(FEATURES)).isfinite().all()
