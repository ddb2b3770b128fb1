"""Scaled and missing values through whole runs: the estimator, run folders, the command line."""

import json
import math

import numpy as np
import pytest
import torch
from quick import quickly, words
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from pyro_mlvae import GroupedDataset, GroupSampler, InputError, MultiLevelVAE, fit, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.evaluation import elbo_metrics, run_sbc
from pyro_mlvae.likelihoods import FeatureNormalLikelihood, NormalLikelihood
from pyro_mlvae.runs.config import RunConfig

NAN = math.nan
# The same digits, and the unit of each form of them: from 0 to 16, in [0, 1], as uint8, in float64.
VECTORS, TARGET = (array[:300] for array in load_digits(return_X_y=True))
IMAGES = VECTORS.reshape(-1, 8, 8)
FORMS = {
    "0..16": (lambda x: x.astype("f4"), 1.0),
    "0..1": (lambda x: (x / 16).astype("f4"), 1 / 16),
    "uint8": (lambda x: x.astype("u1"), 1 / 255),
    "float64": (lambda x: x.astype("f8"), 1.0),
}


def fitted(x, groups=TARGET, **options):
    options = {"epochs": 2, "hidden": (32,), "random_state": 0} | options
    return MultiLevelVAE(**options).fit(x, groups=groups)


@pytest.fixture(scope="module", params=["vectors", "images"])
def forms(request):
    """Of each form, its unit, its x, and the model that is fitted to it."""
    x = VECTORS if request.param == "vectors" else IMAGES
    made = {name: (unit, make(x)) for name, (make, unit) in FORMS.items()}
    return {name: (unit, own, fitted(own)) for name, (unit, own) in made.items()}


def test_the_same_digits_in_any_form_have_the_same_reconstructions(forms):
    _, x, model = forms["0..16"]
    expected = model.inverse_transform(model.transform(x))
    assert np.ptp(expected) > 5.0
    for unit, own, other in forms.values():
        got = other.inverse_transform(other.transform(own)) / unit
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_their_elbos_differ_by_the_jacobian(forms):
    _, x, model = forms["0..16"]
    expected = model.score(x, groups=TARGET)
    for unit, own, other in forms.values():
        score = other.score(own, groups=TARGET)
        assert score + 64 * math.log(unit) == pytest.approx(expected, abs=2e-2)


def test_the_likelihood_of_vectors_is_learned_and_that_of_images_fixed():
    images = fitted(IMAGES)
    assert images.config_.likelihood == "normal"
    vectors = fitted(VECTORS)
    assert vectors.config_.likelihood == "normal-per-feature"
    inner = vectors.model_.likelihood.likelihood
    assert isinstance(inner, FeatureNormalLikelihood)
    assert (inner.log_scale != 0.0).any()


def test_images_in_0_and_1_are_not_wrapped_at_all():
    model = fitted(IMAGES / 16.0)
    assert type(model.model_.likelihood) is NormalLikelihood
    assert not hasattr(model.guide_.encoder, "shift")


def test_a_fixed_scale_is_in_scaled_units():
    model = fitted(IMAGES, likelihood_scale=0.5)
    stddev = model.model_.observation(torch.zeros(1, 16), torch.zeros(1, 4)).base_dist.stddev
    assert stddev.unique().tolist() == [8.0]
    with pytest.raises(InputError, match="likelihood_scale is the fixed scale"):
        fitted(IMAGES, likelihood="normal-learned", likelihood_scale=0.5)


PIXELS = (IMAGES * 15.9).astype("u1")


@pytest.fixture(scope="module", params=["vectors", "images"])
def of_pixels(request):
    x = PIXELS if request.param == "images" else PIXELS.reshape(-1, 64)
    return x, fitted(x)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u2"])
def test_the_same_pixels_in_another_dtype_have_the_same_codes(of_pixels, dtype):
    x, model = of_pixels
    np.testing.assert_allclose(model.transform(x.astype(dtype)), model.transform(x), atol=1e-5)
    score = model.score(x.astype(dtype), groups=TARGET)
    assert score == pytest.approx(model.score(x, groups=TARGET), abs=1e-3)


def test_pixels_in_another_range_are_refused_with_both_ranges(of_pixels):
    x, model = of_pixels
    with pytest.raises(
        InputError, match=r"X has values from 0 to 6\.5.*, but training had values from 0 to 0\.99"
    ):
        model.transform(x.astype("f4") * 257.0)


def test_uint8_is_taken_for_numbers_where_training_had_them():
    model = fitted(VECTORS)
    np.testing.assert_allclose(
        model.transform(VECTORS.astype("u1")), model.transform(VECTORS), atol=1e-5
    )


def test_colour_images_with_channels_last_are_refused():
    with pytest.raises(InputError, match=r"images must be \[N, channels, height, width\]"):
        fitted(np.zeros((300, 8, 10, 3), "u1"))


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
def test_dark_uint8_is_refused_where_x_is_taken_as_it_is(likelihood):
    with pytest.raises(
        InputError, match=f"'{likelihood}' takes uint8 x for pixels .* got 0 to 16, all of them"
    ):
        fitted(IMAGES.astype("u1"), likelihood=likelihood)
    assert math.isfinite(fitted(PIXELS, likelihood=likelihood).history_.epochs[-1].terms.elbo)


# --- missing values


def holes(x, share=0.2):
    x = x.astype("f4")
    x[np.random.default_rng(0).random(x.shape) < share] = NAN
    return x


@pytest.mark.parametrize(
    "x", [VECTORS, IMAGES / 16, IMAGES], ids=["vectors", "images in 0..1", "images"]
)
def test_the_estimator_takes_missing_values(x):
    model = fitted(holes(x), missing="mask")
    codes = model.transform(holes(x))
    assert np.isfinite(codes).all()
    assert np.isfinite(model.inverse_transform(codes)).all()
    assert math.isfinite(model.score(holes(x), groups=TARGET))
    # What is missing costs nothing, so fewer values have a density nearer to 0.
    assert np.isfinite(model.transform(x)).all()


def test_what_a_mask_hides_is_missing_and_never_used():
    x = np.ma.array(VECTORS.copy(), mask=np.random.default_rng(0).random(VECTORS.shape) < 0.2)
    x.data[x.mask] = -999.0
    with pytest.raises(InputError, match=r"x must have a value everywhere, but \d+ are masked"):
        fitted(x)
    model = fitted(x, missing="mask")
    np.testing.assert_array_equal(model.transform(x), model.transform(x.filled(NAN)))


def test_the_estimator_takes_tensors_of_any_real_type():
    model = fitted(IMAGES)
    expected = model.transform(IMAGES)
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int16):
        x = torch.tensor(IMAGES).to(dtype).requires_grad_(dtype.is_floating_point)
        np.testing.assert_array_equal(model.transform(x), expected)


def test_the_estimator_refuses_missing_values_and_names_the_option():
    with pytest.raises(ValueError, match="missing='mask'"):
        fitted(holes(VECTORS))
    model = fitted(VECTORS)
    with pytest.raises(ValueError, match="missing='mask'"):
        model.transform(holes(VECTORS))
    with pytest.raises(InputError, match="unknown missing 'drop'"):
        fitted(VECTORS, missing="drop")


# --- run folders


def train_part(x, **options):
    config = RunConfig(hidden=(16,), **options)
    data = GroupedDataset.from_arrays(x, TARGET, missing=config.missing)
    return config.resolved(data), data


@pytest.mark.parametrize(
    ("x", "options", "kind"),
    [
        (VECTORS, {}, "standard"),
        (IMAGES[:, None], {}, "range"),
        (IMAGES[:, None] / 16.0, {}, "none"),
        (IMAGES[:, None] / 16.0, {"missing": "mask"}, "none"),
        (VECTORS, {"missing": "mask"}, "standard"),
        (VECTORS / 16.0, {"likelihood": "bernoulli", "missing": "mask"}, "none"),
    ],
)
def test_a_run_is_opened_with_its_scaling(tmp_path, x, options, kind):
    config, data = train_part(x, **options)
    scaling = config.scaling(data)
    pair = config.build(data.event_shape, scaling)
    runs.save_config(tmp_path, config, data.event_shape, scaling=scaling.kind, uint8=True)
    runs.save_weights(tmp_path, *pair)
    run = runs.load_run(tmp_path)
    assert (run.scaling.kind, run.uint8) == (kind, True)
    x = data.observations()[:5].float()
    torch.testing.assert_close(run.guide.encode(x), pair[1].encode(x))
    torch.testing.assert_close(run.untrained().encode(x), pair[1].encode(x))
    zeros = torch.zeros(5, 16), torch.zeros(5, 4)
    expected = pair[0].observation(*zeros).log_prob(x)
    torch.testing.assert_close(run.model.observation(*zeros).log_prob(x), expected)


@pytest.mark.parametrize("change", ["lost", "shape", "unit"])
def test_weights_without_a_sound_scaling_are_refused(tmp_path, change):
    config, data = train_part(VECTORS)
    scaling = config.scaling(data)
    runs.save_config(tmp_path, config, data.event_shape, scaling=scaling.kind)
    runs.save_weights(tmp_path, *config.build(data.event_shape, scaling))
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    if change == "lost":
        del tensors["guide.encoder.unit"]
    else:
        tensors["guide.encoder.unit"] = torch.ones(3) if change == "shape" else torch.zeros(64)
    save_file(tensors, file)
    with pytest.raises(
        InputError, match="lack the unit of x" if change != "unit" else "is damaged"
    ):
        runs.load_run(tmp_path)


def test_an_older_config_says_nothing_of_scaling_and_opens(tmp_path):
    config, data = train_part(IMAGES[:, None] / 16.0)
    runs.save_config(tmp_path, config, data.event_shape)
    runs.save_weights(tmp_path, *config.build(data.event_shape))
    settings = json.loads((tmp_path / "config.json").read_text())
    for key in ("scaling", "uint8", "likelihood_scale", "missing"):
        del settings[key]
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert runs.load_run(tmp_path).scaling.is_identity


# --- the command line


def save(file, x):
    np.savez(file, x=x, group=TARGET[: len(x)])


def train(tmp_path, x, *options):
    save(tmp_path / "train.npz", x)
    command = words(f"train --data npz:{tmp_path}/train.npz --out {tmp_path}/run --no-vae")
    with quickly():
        return run([*command, *words("--epochs 2 --hidden 16 --device cpu"), *options])


def test_a_run_on_vectors_with_missing_values_is_whole(tmp_path, capsys):
    assert train(tmp_path, holes(VECTORS * [*range(1, 65)]), "--missing", "mask") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["likelihood"] == "normal-per-feature"
    assert (config["scaling"], config["missing"]) == ("standard", "mask")
    assert (config["guide"], config["network"]) == ("product-of-normals", "mlp")
    report = (tmp_path / "run" / "report.html").read_text()
    assert "guide product-of-normals, likelihood normal-per-feature" in report
    assert "every feature of x standardised" in report
    assert (config["uint8"], config["value_range"]) == (False, [0.0, 16.0 * 63])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert math.isfinite(metrics["elbo"]["per_observation"])
    assert metrics["diagnostics"]["simulation_based"]["sites"].keys() == {"content", "style"}
    out = str(tmp_path / "codes.npz")
    assert run(["embed", str(tmp_path / "run"), "--out", out, "--device", "cpu"]) == 0
    assert np.isfinite(np.load(out)["content_loc"]).all()


def test_three_levels_take_missing_values():
    data = GroupedDataset.from_arrays(
        holes(VECTORS[:100]),
        3 * TARGET[:100] + np.arange(100) % 3,
        parent={3 * digit + i: digit for digit in range(10) for i in range(3)},
        missing="mask",
    )
    config = RunConfig(model="three-level", missing="mask", hidden=(16,)).resolved(data)
    pair = config.build(data.event_shape, config.scaling(data))
    fit(*pair, GroupSampler(data, 10, 4), epochs=2)
    found = elbo_metrics(*pair, data, num_particles=2, content_draws=2, style_draws=2)
    assert math.isfinite(found["per_observation"])
    assert math.isfinite(found["nested_iwae_per_observation"])
    ranks = run_sbc(*pair, data.batch().to(dtype=torch.float32), simulations=1, draws=9)
    assert {site: len(rank) for site, rank in ranks.items()} == dict.fromkeys(ranks, 10)


def test_estimators_are_compared_where_values_are_missing(tmp_path, capsys):
    save(tmp_path / "train.npz", holes(VECTORS[:60]))
    command = words(f"compare-elbos --data npz:{tmp_path}/train.npz --out {tmp_path}/out")
    command += words("--missing mask --hidden 8 --no-memory --groups 3 --particles 1 --epochs 1")
    command += words("--draws 4 --reference-draws 4 --seconds 0")
    assert run(command) == 0, capsys.readouterr().err
    comparison = json.loads((tmp_path / "out" / "elbos.json").read_text())
    assert not comparison["refused"]
    assert all(math.isfinite(row["value"]) for row in comparison["rows"])
    assert all(math.isfinite(row["lower"]) for row in comparison["sandwich"])


def test_missing_values_are_refused_on_the_command_line_with_the_option(tmp_path, capsys):
    assert train(tmp_path, holes(VECTORS)) == 2
    assert "--missing mask" in capsys.readouterr().err.splitlines()[-1]


def test_embed_takes_the_same_pixels_in_another_dtype(tmp_path, refusal):
    x = PIXELS[:100].reshape(-1, 64)
    assert train(tmp_path, x) == 0
    out = tmp_path / "codes.npz"
    own = words(f"embed {tmp_path}/run --out {out}")
    new = [*own, "--data", f"npz:{tmp_path}/new.npz"]
    codes = {}
    for name, array in {"u1": x, "f4": x.astype("f4"), "unit": x / 255.0}.items():
        save(tmp_path / "new.npz", array)
        assert run(new) == 0
        codes[name] = np.load(out)["content_loc"]
    np.testing.assert_allclose(codes["f4"], codes["u1"], atol=1e-5)
    np.testing.assert_allclose(codes["unit"], codes["u1"], atol=1e-5)
    # The run's own data, written again.
    save(tmp_path / "train.npz", x.astype("f4"))
    assert run(own) == 0
    np.testing.assert_allclose(np.load(out)["content_loc"], codes["u1"], atol=1e-5)
    save(tmp_path / "train.npz", 2.0 * x - 255.0)
    assert "from -255 to 253, but training had values from 0 to 0.99" in refusal(*own)
    save(tmp_path / "new.npz", x * 257.0)
    assert "from 0 to 6.528e+04, but training had values from 0 to 0.9961" in refusal(*new)
