"""How x is scaled, the density of x in its own units, and missing values by exact densities."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas
import pyro
import pytest
import torch
from fitting import make_pair
from pyro import poutine
from quick import words
from torch.distributions import MultivariateNormal

from pyro_mlvae import (
    GroupedBatch,
    GroupedDataset,
    GroupSampler,
    InputError,
    MLPEncoder,
    MultiLevelVAE,
    NormalLikelihood,
)
from pyro_mlvae import fit as fit_pair
from pyro_mlvae.data.ranges import value_range
from pyro_mlvae.data.scaling import Scaling, scaling_of
from pyro_mlvae.likelihoods import (
    LIKELIHOODS,
    BernoulliLikelihood,
    FeatureNormalLikelihood,
    LearnedNormalLikelihood,
    Likelihood,
    ObservedLikelihood,
    ScaledLikelihood,
    make_likelihood,
)
from pyro_mlvae.networks import ScaledEncoder
from pyro_mlvae.solved import LinearGaussian, LinearGaussianModel

NAN = math.nan


def data_of(x, **options):
    return GroupedDataset.from_arrays(x, np.arange(len(x)) % 2, **options)


def affine(shift, unit, dtype=torch.float64):
    shift, unit = torch.as_tensor(shift, dtype=dtype), torch.as_tensor(unit, dtype=dtype)
    return Scaling("standard" if shift.ndim else "range", shift, unit)


# --- the scaling of data


def test_vectors_are_standardised_feature_by_feature():
    x = np.random.default_rng(0).normal([5.0, -3e4, 0.0], [2.0, 1e3, 1e-3], (9000, 3))
    scaling = scaling_of(data_of(x))
    assert scaling.kind == "standard"
    assert scaling.mean is None
    assert scaling.shift.dtype == torch.float32
    torch.testing.assert_close(scaling.shift, torch.tensor(x.mean(0)).float())
    torch.testing.assert_close(scaling.unit, torch.tensor(x.std(0)).float())


def test_moments_over_many_chunks_lose_nothing_far_from_zero():
    x = 1e5 + np.random.default_rng(0).normal(size=(10_000, 1))
    torch.testing.assert_close(scaling_of(data_of(x)).unit, torch.tensor(x.std(0)).float())


@pytest.mark.parametrize("value", [0.0, -7.0, 1e6, 0.1])
def test_a_constant_feature_has_the_median_unit_of_the_others(value):
    x = np.stack([np.full(10, value), np.arange(10.0)], 1)
    x = np.concatenate([x, 10 * x, 1000 * x[:, 1:]], 1)
    scaling = scaling_of(data_of(x.astype("f4")))
    spread = np.arange(10).std()
    assert scaling.unit.tolist() == pytest.approx(
        [10 * spread, spread, 10 * spread, 10 * spread, 1e3 * spread]
    )
    assert scaling.shift[0] == np.float32(value)


def test_a_feature_that_float32_cannot_tell_from_a_constant_has_unit_1():
    x = 1e9 + np.arange(10.0)[:, None]
    assert scaling_of(data_of(x)).unit == 1.0


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(0, 1, "f4"), (0.2, 0.8, "f8"), (0, 255, "u1"), (0, 128, "u1")]
)
def test_images_in_0_and_1_that_fill_half_of_it_stay_as_they_are(low, high, dtype):
    x = np.linspace(low, high, 4 * 64).reshape(4, 1, 8, 8).astype(dtype)
    assert scaling_of(data_of(x)).is_identity


@pytest.mark.parametrize(
    ("low", "high", "dtype", "divisor"),
    [
        (0, 16, "f4", 1),
        (0, 255, "i8", 1),
        (-1, 1, "f8", 1),
        (0, 0.2, "f4", 1),
        (0, 65535, "i4", 1),
        (0, 16, "u1", 255),
        (1, 100, "u1", 255),
    ],
)
@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 16, 4)])
def test_images_of_another_range_are_mapped_to_0_and_1(low, high, dtype, divisor, shape):
    x = np.linspace(low, high, math.prod(shape)).reshape(shape).astype(dtype)
    scaling = scaling_of(data_of(x))
    assert scaling.kind == "range"
    assert scaling.shift.ndim == scaling.unit.ndim == 0
    assert float(scaling.shift) == pytest.approx(low / divisor)
    assert float(scaling.unit) == pytest.approx((high - low) / divisor)


def test_images_that_are_all_the_same_grey_stay_as_they_are():
    assert scaling_of(data_of(np.full((4, 1, 8, 8), 7.0))).is_identity


def test_missing_values_are_left_out_of_every_moment():
    x = np.array([[1.0, NAN], [3.0, NAN], [NAN, NAN], [5.0, 2.0]])
    x = np.concatenate([x, np.full((4, 2), 3.0)])
    x[4:, 0] = NAN
    x[2, 1] = 1.0
    scaling = scaling_of(data_of(x, missing="mask"), missing=True)
    means = [np.nanmean(x[:, 0]), np.nanmean(x[:, 1])]
    torch.testing.assert_close(scaling.mean, torch.tensor(means).float())
    torch.testing.assert_close(scaling.shift, scaling.mean)
    torch.testing.assert_close(scaling.unit, torch.tensor(np.nanstd(x, 0)).float())


def test_a_feature_that_is_never_observed_is_no_nan():
    x = np.array([[1.0, NAN], [3.0, NAN]])
    scaling = scaling_of(data_of(x, missing="mask"), missing=True)
    assert scaling.mean.tolist() == [2.0, 0.0]
    assert scaling.unit.tolist() == [1.0, 1.0]


def test_images_with_missing_pixels_have_the_range_and_the_mean_of_the_others():
    x = np.linspace(0, 16, 4 * 64).reshape(4, 1, 8, 8)
    x[0, 0, 0, 1:] = NAN
    data = data_of(x, missing="mask")
    assert value_range(data) == (0.0, 16.0)
    scaling = scaling_of(data, missing=True)
    torch.testing.assert_close(scaling.mean, torch.tensor(np.nanmean(x, 0)).float())
    assert (float(scaling.shift), float(scaling.unit)) == (0.0, 16.0)


@pytest.mark.parametrize("unit", [0.0, -1.0, math.inf, NAN])
def test_a_unit_that_is_not_positive_is_refused(unit):
    with pytest.raises(InputError, match="units of a scaling must be positive and finite"):
        affine(0.0, unit)


@pytest.mark.parametrize("factor", [1e30, 1e19, 1e-19, 1e-30])
@pytest.mark.parametrize("columns", [[0, 1, 2], [1]])
def test_vectors_that_float32_cannot_square_are_refused_by_their_column(factor, columns):
    x = np.random.default_rng(0).normal(size=(20, 3))
    x[:, columns] *= factor
    data = data_of(x)
    first = columns[0]
    low, high = (re.escape(f"{end:.4g}") for end in (x[:, first].min(), x[:, first].max()))
    for names, where in (((), f"feature {first}"), (tuple("abc"), f"column '{'abc'[first]}'")):
        said = (
            f"size is between 1e-18 and 1e.18, .* but {where} has values from {low} to {high}: "
            "give it"
        )
        with pytest.raises(InputError, match=said):
            scaling_of(replace(data, feature_names=names))


@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_images_and_counts_that_float32_cannot_square_are_refused(factor):
    x = np.random.default_rng(0).random((4, 1, 8, 8))
    with pytest.raises(InputError, match=r"but x has values from .* to .*: give it in other units"):
        scaling_of(data_of(x * factor))
    with pytest.raises(InputError, match=r"but x has values from 0 to 1e[+]30"):
        scaling_of(data_of([[0.0, 2.0], [1.0, 1e30]]), rescale=False)


@pytest.mark.parametrize("factor", [1e17, 1.0, 1e-17])
def test_large_and_small_units_have_the_density_of_x_to_the_jacobian(factor):
    x = np.random.default_rng(0).normal(size=(20, 3))
    scaling = scaling_of(data_of(x * factor))
    z = torch.zeros(1, 3)
    density = ScaledLikelihood(NormalLikelihood(1.0), scaling)(z).log_prob(
        torch.tensor(x * factor).float()
    )
    expected = -0.5 * (scaling(torch.tensor(x * factor).float()).square() + math.log(2.0 * math.pi))
    torch.testing.assert_close(density, expected - scaling.unit.log(), rtol=1e-4, atol=1e-4)


def test_half_precision_is_scaled_in_single():
    x = np.array([[-6e4, 1.0], [6e4, 2.0], [6e4, 3.0]], "f2")
    z = scaling_of(data_of(x))(torch.tensor(x))
    expected = (x.astype("f8") - x.astype("f8").mean(0)) / x.astype("f8").std(0)
    torch.testing.assert_close(z, torch.tensor(expected).float())


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e17])
def test_a_constant_feature_of_any_moderate_size_is_taken(value):
    x = np.stack([np.full(10, value), np.arange(10.0)], 1)
    assert scaling_of(data_of(x)).unit[0] == scaling_of(data_of(x)).unit[1]


def test_the_command_line_and_the_estimator_refuse_them_too(tmp_path, refusal):
    x = np.random.default_rng(0).normal(size=(20, 3))
    x[:, 2] *= 1e-30
    np.savez(tmp_path / "x.npz", x=x, group=np.arange(20) % 4)
    command = words(f"train --data npz:{tmp_path}/x.npz --out {tmp_path}/run")
    assert "but feature 2 has values from" in refusal(*command)
    assert not (tmp_path / "run").exists()
    for factor in (1.0, 1e-20):  # beyond what float32 has at all
        frame = pandas.DataFrame(x * [1.0, 1.0, factor], columns=["a", "b", "c"])
        with pytest.raises(InputError, match="but column 'c' has values from"):
            MultiLevelVAE().fit(frame, groups=np.arange(20) % 4)


# --- x in its own units


@pytest.mark.parametrize(
    "likelihood", [NormalLikelihood(0.3), LearnedNormalLikelihood(), FeatureNormalLikelihood((3,))]
)
def test_the_density_in_own_units_is_that_of_scaled_x_and_the_jacobian(likelihood):
    likelihood = likelihood.double()
    scaling = affine([5.0, -3e4, 0.0], [2.0, 1e3, 1e-3])
    parameters = torch.randn(likelihood.outputs, 4, 3, dtype=torch.float64)
    z = torch.randn(4, 3, dtype=torch.float64)
    expected = likelihood(*parameters).log_prob(z) - scaling.unit.log()
    normal = ScaledLikelihood(likelihood, scaling)(*parameters)
    x = scaling.shift + scaling.unit * z
    torch.testing.assert_close(normal.log_prob(x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        normal.mean, scaling.shift + scaling.unit * likelihood(*parameters).mean
    )


def test_shift_and_unit_are_saved_and_move_with_the_module():
    likelihood = ScaledLikelihood(NormalLikelihood(), affine(1.0, 2.0)).float()
    encoder = ScaledEncoder(MLPEncoder((3,), 2, 1), affine([1.0] * 3, [2.0] * 3))
    assert {"shift", "unit"} <= set(likelihood.state_dict()) & set(encoder.state_dict())
    assert likelihood.shift.dtype == torch.float32
    assert (encoder.content_dim, encoder.style_dim) == (2, 1)


@pytest.mark.parametrize("name", ["bernoulli", "continuous-bernoulli"])
def test_a_likelihood_of_values_in_0_and_1_is_not_scaled(name):
    with pytest.raises(InputError, match="takes x as it is, and cannot be scaled"):
        ScaledLikelihood(make_likelihood(name), affine(0.0, 2.0))


def test_the_encoder_sees_scaled_x():
    encoder = MLPEncoder((3,), 2, 1).double()
    scaling = affine([5.0, -3e4, 0.0], [2.0, 1e3, 1e-3])
    z = torch.randn(4, 3, dtype=torch.float64)
    got = ScaledEncoder(encoder, scaling)(scaling.shift + scaling.unit * z)
    torch.testing.assert_close(got, encoder(z))


def test_a_missing_value_is_its_features_mean_to_the_encoder():
    encoder = MLPEncoder((3,), 2, 1).double()
    scaling = affine([0.0, 10.0, 0.0], [1.0, 2.0, 1.0])
    scaling = Scaling(
        "standard", scaling.shift, scaling.unit, torch.tensor([1.0, 14.0, 3.0]).double()
    )
    got = ScaledEncoder(encoder, scaling)(torch.tensor([[0.5, NAN, NAN]]).double())
    torch.testing.assert_close(got, encoder(torch.tensor([[0.5, 2.0, 3.0]]).double()))


# --- the learned scale of each feature


def test_the_learned_scale_of_a_feature_is_bounded_below():
    likelihood = FeatureNormalLikelihood((2,)).double()
    likelihood.log_scale.data = torch.tensor([-50.0, 1.0]).double()
    scale = likelihood(torch.zeros(4, 2).double()).stddev
    expected = torch.tensor([0.01, math.hypot(0.01, math.e)]).double().expand(4, 2)
    torch.testing.assert_close(scale, expected)


class Silent(torch.nn.Module):
    def forward(self, content, style):
        return (torch.zeros(*content.shape[:-1], 2),)


def test_the_learned_scale_is_trained_to_the_spread_of_each_feature():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator) * torch.tensor([0.1, 1.0])
    likelihood = FeatureNormalLikelihood((2,))
    model, guide = make_pair((2,), likelihood, dim=1)
    # Nothing but the scale learns, from a decoder that knows nothing.
    model.decoder = Silent()
    optimizer = pyro.optim.Adam({"lr": 0.1})
    fit_pair(model, guide, GroupSampler(data_of(x), 2, 200), epochs=60, optimizer=optimizer)
    scale = likelihood(torch.zeros(2)).stddev.detach()
    torch.testing.assert_close(scale, x.square().mean(0).sqrt(), rtol=0.05, atol=0.0)


@pytest.mark.parametrize(
    ("name", "scale", "event_shape", "kind"),
    [
        ("auto", None, (1, 8, 8), NormalLikelihood),
        ("auto", None, (8, 8), NormalLikelihood),
        ("auto", None, (8,), FeatureNormalLikelihood),
        ("auto", 0.5, (8,), NormalLikelihood),
        ("normal", None, (8,), NormalLikelihood),
        ("normal-per-feature", None, (1, 8, 8), FeatureNormalLikelihood),
        ("bernoulli", None, (8,), BernoulliLikelihood),
    ],
)
def test_auto_follows_the_shape_of_the_data(name, scale, event_shape, kind):
    likelihood = make_likelihood(name, event_shape, scale=scale)
    assert type(likelihood) is kind
    if kind is NormalLikelihood:
        assert likelihood.scale == (0.2 if scale is None else scale)


@pytest.mark.parametrize("name", ["normal-per-feature", "normal-learned", "bernoulli"])
def test_a_fixed_scale_is_refused_for_other_likelihoods(name):
    with pytest.raises(InputError, match=rf"is the fixed scale .* got likelihood '{name}'"):
        make_likelihood(name, (3,), scale=0.5)


@pytest.mark.parametrize("scale", [0.0, -1.0, NAN, math.inf])
def test_a_fixed_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(
        InputError, match="scale of a Normal likelihood must be positive and finite"
    ):
        make_likelihood("auto", (3,), scale=scale)


# --- missing values


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_missing_values_are_left_out_of_the_density_and_of_its_gradient(name):
    torch.manual_seed(0)
    likelihood = make_likelihood(name, (3,)).double()
    parameters = torch.randn(likelihood.outputs, 4, 3, dtype=torch.float64, requires_grad=True)
    # In the support of every one of them.
    x = torch.randint(2, (4, 3), dtype=torch.float64)
    missing = torch.rand(4, 3) < 0.4
    observed = ObservedLikelihood(likelihood)(*parameters).to_event(1)
    density = observed.log_prob(x.masked_fill(missing, NAN))
    whole = likelihood(*parameters).log_prob(x)
    torch.testing.assert_close(density, (whole * ~missing).sum(-1), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(density.sum(), parameters)
    assert gradient.isfinite().all()
    assert (gradient[:, missing] == 0.0).all()
    assert (gradient[:, ~missing] != 0.0).any()


def test_the_evidence_of_what_is_observed_is_exact():
    """log p(x, z) - log p(z | x) at any z is log N of the sub-vector, by linear algebra."""
    solved = LinearGaussian.correlated(dim=5, content_dim=2, style_dim=1, noise_scale=0.4)
    model = LinearGaussianModel(solved)
    model.likelihood = ObservedLikelihood(model.likelihood)
    batch = solved.sample(torch.tensor([3]))
    x = batch.x.clone()
    x[0, [1, 3]] = x[1, 0] = x[2, 2:] = NAN
    there = ~x.flatten().isnan()
    # x as one vector is offset + loading z + noise, with z of the content and three styles.
    loading = torch.zeros(15, 5, dtype=torch.float64)
    loading[:, :2] = solved.content_loading.repeat(3, 1)
    loading[:, 2:] = torch.block_diag(*[solved.style_loading] * 3)
    loading, residual = loading[there], (x - solved.offset).flatten()[there]
    precision = torch.eye(5, dtype=torch.float64) + loading.mT @ loading / 0.4**2
    loc = torch.linalg.solve(precision, loading.mT @ residual / 0.4**2)
    z = torch.randn(5, dtype=torch.float64)
    latents = {"content": z[None, :2], "style": z[2:, None]}
    masked = GroupedBatch.trusted(x, batch.group, batch.num_groups)
    joint = poutine.trace(poutine.condition(model, latents)).get_trace(masked).log_prob_sum()
    got = joint - MultivariateNormal(loc, precision_matrix=precision).log_prob(z)
    covariance = loading @ loading.mT + 0.4**2 * torch.eye(len(residual), dtype=torch.float64)
    expected = MultivariateNormal(torch.zeros_like(residual), covariance).log_prob(residual)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "estimator", ["trace", "mean-field", "dreg", "nested-iwae", "local", "stl", "graph"]
)
def test_training_with_missing_values_keeps_everything_finite(estimator):
    from pyro_mlvae import make_estimator

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, 5, generator=generator)
    x[torch.rand(24, 5, generator=generator) < 0.3] = NAN
    data = GroupedDataset.from_arrays(x, torch.arange(24) % 4, missing="mask")
    model, guide = make_pair((5,), ObservedLikelihood(NormalLikelihood()))
    guide.encoder = ScaledEncoder(guide.encoder, scaling_of(data, missing=True))
    history = fit_pair(
        model, guide, GroupSampler(data, 3, 4), epochs=2, estimator=make_estimator(estimator)
    )
    assert all(math.isfinite(record.terms.elbo) for record in history.epochs)
    assert all(p.isfinite().all() for p in [*model.parameters(), *guide.parameters()])


MASK = {"missing": "mask"}


@pytest.mark.parametrize(
    ("row", "value", "options", "sentence"),
    [
        (1, [1.0, NAN], {}, "first in observation 1: remove or impute them, or take NaN"),
        (1, [math.inf, NAN], MASK, r"got 1 infinite value\(s\), the first in observation 1"),
        (1, [-math.inf, NAN], MASK, r"got 1 infinite value\(s\), the first in observation 1"),
        (2, [NAN, NAN], MASK, "1 have none, the first is observation 2: leave them out"),
        (0, [1.0, 1.0], {"missing": "masked"}, "unknown missing 'masked': did you mean 'mask'"),
    ],
)
def test_values_that_are_not_there_are_refused(row, value, options, sentence):
    x = torch.ones(4, 2)
    x[row] = torch.tensor(value)
    with pytest.raises(InputError, match=sentence):
        data_of(x, **options)


def test_missing_values_are_refused_by_a_likelihood_that_does_not_leave_them_out():
    x = torch.ones(4, 5)
    x[2, 3] = NAN
    with pytest.raises(InputError, match=r"x holds missing values .* does not leave out"):
        fit_pair(*make_pair(), GroupSampler(data_of(x, **MASK), 2, 2), epochs=1)


def test_what_a_masked_array_masks_is_missing():
    x = np.ma.masked_equal(np.arange(12).reshape(4, 3), 4)
    assert data_of(x, missing="mask").x.isnan().nonzero().tolist() == [[1, 1]]
    with pytest.raises(InputError, match="1 are masked: fill them"):
        data_of(x)
    pixels = np.ma.masked_equal(np.array([[0, 255], [51, 7]], dtype="u1"), 7)
    x = data_of(pixels, missing="mask").observations()
    torch.testing.assert_close(x, torch.tensor([[0.0, 1.0], [0.2, NAN]]), equal_nan=True)


def test_missing_values_on_disk_stay_there(tmp_path):
    x = np.ones((4, 5), dtype="f4")
    x[2, 3] = NAN
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = data_of(mapped, missing="mask")
    assert data.on_disk
    assert data.observations().isnan().sum() == 1
    with pytest.raises(InputError, match="first in observation 2"):
        data_of(mapped)


def test_missing_values_need_a_likelihood_of_single_values():
    class Joint(Likelihood):
        def forward(self, loc):
            return MultivariateNormal(loc, torch.eye(3))

    with pytest.raises(InputError, match=r"values one by one, got one of events of shape \[3\]"):
        ObservedLikelihood(Joint())(torch.zeros(4, 3))
