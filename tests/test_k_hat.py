"""Pareto k-hat: of known tails, of exact posteriors, and of guides that are too narrow."""

import json
import math

import pytest
import torch
from scaled import scaled

from pyro_mlvae import InputError
from pyro_mlvae.evaluation import check_k_hat, pareto_k_hat, run_k_hat
from pyro_mlvae.solved import (
    LinearGaussian,
    LinearGaussianGuide,
    LinearGaussianModel,
    ThreeLevelGaussian,
    ThreeLevelGaussianGuide,
    ThreeLevelGaussianModel,
)


def two_levels(make=LinearGaussian.correlated, dtype=torch.float64):
    solved = make(dtype=dtype)
    batch = solved.sample(torch.tensor([1, 2, 3, 5, 8]))
    return LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch


def three_levels(make=ThreeLevelGaussian.correlated, dtype=torch.float64):
    solved = make(dtype=dtype)
    batch = solved.sample(torch.tensor([1, 2, 3, 5, 8]), torch.tensor([0, 0, 1, 1, 2]))
    return ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved), batch


both = pytest.mark.parametrize("make", [two_levels, three_levels])


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.7, 1.0, 2.0])
def test_the_shape_of_a_pareto_tail_is_found(shape):
    """exp of shape times an exponential is Pareto; 100 units, so that the mean is known to 0.02."""
    uniform = torch.rand(4000, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k = pareto_k_hat(-shape * uniform.log())
    # The fit draws k towards 0.5, as if 10 more of 190 excesses said so.
    expected = (190 * shape + 10 * 0.5) / 200
    assert k.mean() == pytest.approx(expected, abs=3.0 * float(k.std()) / 10)
    assert float(k.std()) < 0.25


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@both
def test_exact_posteriors_have_constant_weights_and_no_tail(make, dtype):
    model, guide, batch = make(dtype=dtype)
    k = run_k_hat(model, guide, batch, draws=60)
    assert k.shape == ((5,) if make is two_levels else (3,))
    assert k.dtype == torch.float64
    if dtype == torch.float64:
        assert k.tolist() == [0.0] * len(k)
    assert (k < 0.5).all()


@both
def test_guides_too_narrow_by_two_are_above_the_threshold_and_wider_ones_below(make):
    """Weights are exp(0.75 / 2 chi2) where narrow: a tail of shape 0.75."""
    model, guide, batch = make()
    narrow = check_k_hat(run_k_hat(model, scaled(guide, 0.5), batch, draws=150))
    assert narrow["median"] > 0.8
    assert narrow["share_above"] >= 0.8
    # Where the guide is wider than the posterior, weights are bounded.
    wide = check_k_hat(run_k_hat(model, scaled(guide, 1.25), batch, draws=150))
    assert wide["share_above"] == 0.0
    assert wide["median"] < 0.5


def test_weights_are_compared_within_their_group():
    """A constant that differs by group says nothing of a tail."""
    weights = torch.randn(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k = pareto_k_hat(torch.cat([weights, weights - 1e4, weights + 1e4], 1))
    assert k.max() - k.min() < 1e-6
    alone = pareto_k_hat(weights)
    assert k[0] == alone[0]


@pytest.mark.parametrize("spread", [10.0, 1e3, 1e5])
def test_one_weight_that_outweighs_all_gives_a_large_number_and_no_infinity(spread):
    weights = spread * torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    k = pareto_k_hat(weights)
    assert k.isfinite().all()
    assert (k > 2.0).all()


def test_weights_of_zero_are_allowed():
    weights = torch.zeros(100, 1).index_fill(0, torch.arange(50), -math.inf)
    assert pareto_k_hat(weights).tolist() == [0.0]


def test_what_is_checked_is_plain_numbers():
    found = check_k_hat(torch.tensor([0.8, -0.1, 0.4, 0.71], dtype=torch.float64))
    assert found == {
        "groups": 4,
        "threshold": 0.7,
        "share_above": 0.5,
        "median": pytest.approx(0.555),
        "max": 0.8,
        "k": [-0.1, 0.4, 0.71, 0.8],
    }
    assert json.loads(json.dumps(found))["k"][0] == -0.1


def test_it_is_fixed_by_its_seed_and_leaves_the_callers_state_alone():
    model, guide, batch = two_levels()
    guide = scaled(guide, 0.5)
    before = torch.get_rng_state()
    first = run_k_hat(model, guide, batch, draws=50, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, run_k_hat(model, guide, batch, draws=50, seed=1))
    assert not torch.equal(first, run_k_hat(model, guide, batch, draws=50, seed=2))


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (torch.zeros(49, 1), "draws must be at least 50 .* got 49"),
        (torch.full((50, 2), torch.nan), "largest of group 0 is nan"),
        (
            torch.zeros(50, 2).index_fill(1, torch.tensor([1]), math.inf),
            "largest of group 1 is inf",
        ),
        (torch.full((50, 1), -math.inf), "largest of group 0 is -inf"),
    ],
)
def test_weights_without_a_tail_to_fit_are_refused(weights, sentence):
    with pytest.raises(InputError, match=sentence):
        pareto_k_hat(weights)


def test_other_input_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="draws must be a positive whole number"):
        run_k_hat(*two_levels(), draws=0)
    with pytest.raises(InputError, match="seed must be a whole number"):
        run_k_hat(*two_levels(), draws=50, seed=-1)
    with pytest.raises(InputError, match="at least one group"):
        check_k_hat(torch.zeros(0))
