"""The scikit-learn estimator: scikit-learn's checks, and the library's own training."""

import copy
import inspect
import io
import pickle
from dataclasses import fields
from types import SimpleNamespace

import joblib
import numpy as np
import pyro
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from pyro_mlvae import GroupedDataset, GroupSampler, InputError, fit
from pyro_mlvae import sklearn as multi_level_vae
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler
from pyro_mlvae.sklearn import MultiLevelVAE
from pyro_mlvae.training import elbo_terms, fused_adam

SMALL = {"content_dim": 3, "style_dim": 2, "hidden": (8,), "epochs": 2, "groups_per_batch": 4}
NAMES = np.array(["eva", "ann", "dan", "bob", "cem", "flo", "gil"])


def small(**changes):
    return MultiLevelVAE(**{**SMALL, "random_state": 0, **changes})


@pytest.fixture(scope="module")
def data():
    """42 rows of 6 features in 7 groups of 6, and the name of each row's group; rows are mixed."""
    rng = np.random.RandomState(0)
    group = rng.permutation(np.repeat(np.arange(7), 6))
    x = rng.randn(7, 6)[group] + 0.1 * rng.randn(42, 6)
    return x.astype(np.float32), NAMES[group]


@pytest.fixture(scope="module")
def fitted(data):
    x, groups = data
    return small().fit(x, groups=groups)


@pytest.mark.filterwarnings("ignore:without groups:UserWarning")
@parametrize_with_checks([MultiLevelVAE(2, 1, hidden=(8,), epochs=1)])
def test_scikit_learn_finds_nothing_to_say(estimator, check):
    check(estimator)


def test_the_parameters_are_those_of_a_run_and_so_are_their_values():
    own, run = MultiLevelVAE().get_params(), {f.name: f.default for f in fields(RunConfig)}
    # What says where data comes from, what of it is held out, and what is trained beside the model.
    of_runs = {"data", "data_root", "image_size", "grayscale", "skip_bad", "test_fraction"}
    of_runs |= {"hold_out_groups", "hold_out_fraction", "vae"}
    of_runs |= {"group_column", "label_column", "feature_columns"}
    assert set(run) - set(own) <= of_runs | {"seed"}
    assert set(own) - set(run) == {"device", "random_state", "verbose"}
    assert all(own[name] == run[name] for name in set(own) & set(run))


def test_it_trains_as_the_library_does(data, fitted):
    x, groups = data
    own = GroupedDataset.from_arrays(x, groups)
    config = RunConfig(**SMALL, seed=0).resolved(own)
    model, guide = config.build((6,), config.scaling(own))
    optimizer = fused_adam(config.learning_rate)
    history = fit(model, guide, make_sampler(config, own), epochs=2, optimizer=optimizer)
    for ours, theirs in ((fitted.model_, model), (fitted.guide_, guide)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value)
    assert [record.terms for record in fitted.history_.epochs] == [r.terms for r in history.epochs]
    assert fitted.groups_ == tuple(sorted(NAMES))
    assert fitted.config_ == config
    assert (fitted.n_features_in_, fitted.event_shape_) == (6, (6,))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "mixture-prior"},
        {"model": "vae"},
        {"guide": "average-of-normals"},
        {"style_given_content": True},
        {"likelihood": "normal-learned"},
        {"hidden": [9]},
        {"sampler": "observations"},
        {"groups_per_batch": 3},
        {"observations_per_group": 3},
        {"epochs": 3},
        {"learning_rate": 1e-2},
        {"elbo": "mean-field"},
        {"num_particles": 2},
        {"beta_content": 2.0},
        {"beta_style": 2.0},
        {"warmup_steps": 10},
        {"free_bits_content": 1.0},
        {"free_bits_style": 1.0},
        {"aggregate_style": 1.0},
        {"hsic": 100.0},
        {"random_state": 1},
    ],
    ids=str,
)
def test_every_parameter_takes_part(data, fitted, changes):
    x, groups = data
    changed = small(**changes).fit(x, groups=groups)
    assert not np.array_equal(changed.transform(x), fitted.transform(x))
    assert changed.config_ != fitted.config_


def test_the_order_of_an_estimator_takes_part(data):
    x, groups = data
    codes = [
        small(elbo="group-renyi", num_particles=3, alpha=alpha).fit(x, groups=groups).transform(x)
        for alpha in (0.1, 0.9)
    ]
    assert not np.array_equal(*codes)


def test_it_learns(data):
    x, groups = data
    scores = [
        small(epochs=n, learning_rate=3e-2).fit(x, groups=groups).score(x, groups=groups)
        for n in (1, 20)
    ]
    assert scores[1] > scores[0] + 1.0


@pytest.mark.parametrize("guide", ["product-of-normals", "product-with-prior"])
def test_codes_are_the_locs_of_single_rows(data, guide):
    x, groups = data
    model = small(guide=guide).fit(x, groups=groups)
    groups = Groups(torch.arange(len(x)), len(x))
    content, style = model.guide_.codes(model.guide_.encode(torch.from_numpy(x)), groups)
    np.testing.assert_allclose(
        model.transform(x), torch.cat([content.mean, style.mean], -1).detach(), atol=1e-6
    )


def test_it_computes_in_float32_whatever_is_usual(data):
    x, groups = data
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = small().fit(x.astype(np.float64), groups=groups)
        codes = model.transform(x.astype(np.float64))
        assert codes.dtype == model.inverse_transform(codes).dtype == np.float32
        assert np.isfinite(model.score(x, groups=groups))
    finally:
        torch.set_default_dtype(before)


def test_content_of_groups_is_of_all_their_rows_in_the_order_of_their_names(data, fitted):
    x, groups = data
    contents = fitted.transform_groups(x, groups)
    assert contents.shape == (7, 3)
    for name, content in zip(np.unique(groups), contents, strict=True):
        batch = GroupedDataset.from_arrays(x[groups == name], [0] * 6).batch()
        np.testing.assert_allclose(
            content,
            fitted.guide_.content_posterior(fitted.guide_.encode(batch.x), batch.groups)
            .mean[0]
            .detach(),
            atol=1e-5,
        )


def test_content_of_new_groups_of_one_is_that_of_their_row(data, fitted):
    x, _ = data
    contents = fitted.transform_groups(x, np.arange(42)[::-1])
    np.testing.assert_allclose(contents[::-1], fitted.transform(x)[:, :3], atol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        np.asarray,
        lambda names: [(name, 1) for name in names],
        lambda names: SimpleNamespace(to_numpy=lambda: np.array(names)),
    ],
    ids=["list", "tuple", "array", "tuples", "series"],
)
def test_groups_have_names_of_any_kind(data, fitted, kind):
    x, groups = data
    again = small().fit(x, groups=kind(groups.tolist()))
    assert np.array_equal(again.transform(x), fitted.transform(x))


@pytest.mark.parametrize("event_shape", [(6,), (4, 3), (2, 4, 3), (16, 16), (1, 17, 16)])
def test_decoded_codes_are_of_the_shape_of_x(event_shape, monkeypatch):
    x = np.random.RandomState(0).rand(9, *event_shape)
    model = small(epochs=1).fit(x, groups=[0, 1, 2] * 3)
    codes = model.transform(x)
    codes.flags.writeable = False  # as what joblib maps from a file
    decoded = model.inverse_transform(codes)
    assert decoded.shape == x.shape
    content, style = torch.from_numpy(codes.copy()).split([3, 2], -1)
    mean = model.model_.observation(content, style).mean.detach().reshape(x.shape)
    np.testing.assert_allclose(decoded, mean, atol=1e-6)
    monkeypatch.setattr(multi_level_vae, "BATCH_SIZE", 4)
    np.testing.assert_allclose(model.inverse_transform(codes), mean, atol=1e-6)
    convolutional = any(isinstance(m, torch.nn.Conv2d) for m in model.guide_.modules())
    assert convolutional == (event_shape in {(16, 16), (1, 17, 16)})


def test_pixels_are_scaled_and_tensors_taken(data):
    pixels = np.random.RandomState(0).randint(256, size=(12, 5)).astype(np.uint8)
    groups = torch.arange(12) % 3
    of_pixels = small().fit(pixels, groups=groups)
    of_numbers = small().fit(
        torch.tensor(pixels / 255.0, requires_grad=True), groups=groups.numpy()
    )
    codes = of_pixels.transform(torch.from_numpy(pixels))
    np.testing.assert_allclose(codes, of_numbers.transform(pixels / 255.0), atol=1e-6)


def test_the_score_is_the_elbo_of_a_row_in_its_group(data, fitted):
    x, groups = data
    batch = next(GroupSampler(GroupedDataset.from_arrays(x, groups), 7, seed=0).epoch(0))
    terms = elbo_terms(fitted.model_, fitted.guide_, batch, num_particles=10, seed=mixed_seed(0, 0))
    score = fitted.score(x, groups=groups)
    assert isinstance(score, float)
    assert score == float(terms.elbo) / 42
    assert score == fitted.score(x, np.arange(42), groups)
    assert score != fitted.score(x, groups=np.arange(42))


def test_the_score_takes_groups_whole_and_not_too_many_at_once(data, fitted, monkeypatch):
    x, groups = data
    seen = []

    def watched(model, guide, batch, **options):
        seen.append((batch.sizes.tolist(), options["seed"]))
        return elbo_terms(model, guide, batch, **options)

    monkeypatch.setattr(multi_level_vae, "elbo_terms", watched)
    at_once = fitted.score(x, groups=groups)
    monkeypatch.setattr(multi_level_vae, "BATCH_SIZE", 12)
    in_parts = fitted.score(x, groups=groups)
    sizes = [[6] * 7, [6] * 2, [6] * 2, [6] * 2, [6]]
    assert seen == [(own, mixed_seed(0, i)) for own, i in zip(sizes, [0, 0, 1, 2, 3], strict=True)]
    assert in_parts == pytest.approx(at_once, rel=0.05)


@pytest.mark.parametrize(
    "copied",
    [
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: joblib.load(dumped(model)),
        copy.deepcopy,
    ],
    ids=["pickle", "joblib", "deepcopy"],
)
def test_a_copy_gives_the_same_bits(data, fitted, copied):
    x, groups = data
    again = copied(fitted)
    codes = fitted.transform(x)
    assert np.array_equal(again.transform(x), codes)
    assert np.array_equal(again.inverse_transform(codes), fitted.inverse_transform(codes))
    assert again.score(x, groups=groups) == fitted.score(x, groups=groups)
    assert again.get_params() == fitted.get_params()


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return file


def test_fits_with_one_seed_are_the_same_also_of_one_estimator(data, fitted):
    x, groups = data
    codes = fitted.transform(x)
    model = small()
    for _ in range(2):
        assert np.array_equal(model.fit(x, groups=groups).transform(x), codes)


def test_a_random_state_is_drawn_from_and_none_is_numpys(data):
    x, groups = data

    def codes(random_state):
        return small(random_state=random_state).fit(x, groups=groups).transform(x)

    first, second = np.random.RandomState(1), np.random.RandomState(1)
    once, twice = codes(first), codes(first)
    assert not np.array_equal(once, twice)
    assert np.array_equal(once, codes(second))
    before = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        assert np.array_equal(once, codes(None))
        assert not np.array_equal(once, codes(None))
    finally:
        np.random.set_state(before)  # noqa: NPY002


def test_nothing_of_the_callers_changes(data):
    def state():
        return [
            str(np.random.get_state(legacy=False)),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            dict(pyro.get_param_store().items()),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
        ]

    x, groups = (array.copy() for array in data)
    pyro.param("guide$$$own", torch.ones(()))
    before = state()
    model = small().fit(x, groups=groups)
    model.transform_groups(x, groups)
    model.inverse_transform(model.transform(x))
    model.score(x, groups=groups)
    assert state() == before
    assert np.array_equal(x, data[0])
    assert np.array_equal(groups, data[1])


@pytest.mark.parametrize("method", ["fit", "score"])
def test_rows_without_groups_are_warned_of(data, method, monkeypatch):
    x, groups = data
    for name in ("fit", "score", "_data"):
        # The check of annotations would stand between the caller and the warning.
        monkeypatch.setattr(MultiLevelVAE, name, inspect.unwrap(getattr(MultiLevelVAE, name)))
    model = small().fit(x, groups=groups)
    with pytest.warns(UserWarning, match="every row is a group of its own") as caught:
        alone = getattr(model, method)(x)
    assert caught[0].filename == __file__
    if method == "fit":
        assert np.array_equal(alone.transform(x), small().fit(x, groups=range(42)).transform(x))
        assert alone.groups_ == tuple(range(42))
    else:
        assert alone == model.score(x, groups=range(42))


def test_a_vae_needs_no_groups(data):
    x, _ = data
    model = small(model="vae").fit(x)
    assert model.score(x) == pytest.approx(model.score(x))


@pytest.mark.filterwarnings("ignore:Encountered NaN:UserWarning")  # Pyro's own word of it
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 0}, "epochs must be a positive whole number"),
        ({"elbo": "traces"}, "did you mean 'trace'"),
        ({"guide": "vae"}, "the model 'mlvae' goes with"),
        ({"model": "three-level"}, "super-groups"),
        ({"random_state": -1}, "seed must be a whole number of at least 0"),
        ({"random_state": "0"}, "cannot be used to seed"),
        ({"device": "tpu"}, "'tpu' is not here"),
        ({"network": "conv"}, "convolutions take images"),
        ({"likelihood": "bernoulli"}, r"takes x in \[0, 1\]"),
        ({"learning_rate": 1e30, "epochs": 20}, "is not finite"),
    ],
    ids=str,
)
def test_parameters_that_are_wrong_are_found_in_fit(data, changes, sentence):
    x, groups = data
    # As a search sets them, past the check of annotations.
    model = small().set_params(**changes)
    with pytest.raises(ValueError, match=sentence):
        model.fit(x, groups=groups)
    with pytest.raises(NotFittedError):
        model.transform(x)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda m, x, g: m.fit(np.where(x > 1, np.nan, x), groups=g),
            "take NaN for missing values",
        ),
        (lambda m, x, g: m.fit(x[:0], groups=g[:0]), "0 sample"),
        (lambda m, x, g: m.fit(x[0], groups=g[:1]), "Expected 2D array"),
        (lambda m, x, g: m.fit(x, groups=g[1:]), "expected 42, got 41"),
        (lambda m, x, g: m.fit(x, groups=[None, *g[1:]]), "is missing"),
        (lambda m, x, g: m.fit(x, groups=x), "one column"),
        (lambda m, x, g: m.transform(x[:, :5]), "5 features, but MultiLevelVAE is expecting 6"),
        (lambda m, x, g: m.transform(x[:, :, None]), "X must hold rows of shape"),
        (lambda m, x, g: m.transform(x * 1j), "Complex data not supported"),
        (lambda m, x, g: m.transform_groups(x, g[1:]), "expected 42, got 41"),
        (lambda m, x, g: m.score(x, groups=g[1:]), "expected 42, got 41"),
        (lambda m, x, g: m.inverse_transform(x), "Z must have 5 columns, as codes have, got 6"),
        (
            lambda m, x, g: m.inverse_transform(np.exp(x[:, :5]) * np.inf),
            "Input Z contains infinity",
        ),
        (lambda m, x, g: m.get_feature_names_out(["a"]), "input_features should have length"),
    ],
)
def test_input_that_is_wrong_is_refused(data, fitted, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(copy.deepcopy(fitted), *data)


def test_errors_of_the_librarys_are_those_of_scikit_learn():
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x, g: m.transform(x),
        lambda m, x, g: m.transform_groups(x, g),
        lambda m, x, g: m.inverse_transform(x),
        lambda m, x, g: m.score(x, groups=g),
        lambda m, x, g: m.get_feature_names_out(),
    ],
)
def test_nothing_is_done_before_fit(data, call):
    with pytest.raises(NotFittedError):
        call(small(), *data)


def test_numbers_of_numpys_are_numbers(data, fitted):
    x, groups = data
    numpys = {"content_dim": np.int64(3), "epochs": np.int32(2), "learning_rate": np.float64(1e-3)}
    model = small().set_params(**numpys, hidden=[8], random_state=np.int64(0))
    assert np.array_equal(model.fit(x, groups=groups).transform(x), fitted.transform(x))


def test_what_scikit_learn_asks_of_an_estimator(fitted):
    names = ["content0", "content1", "content2", "style0", "style1"]
    assert fitted.get_feature_names_out().tolist() == names
    assert fitted.set_output(transform="default") is fitted
    assert clone(fitted).get_params() == fitted.get_params()
    assert "MultiLevelVAE" in fitted._repr_html_()
    tags = get_tags(fitted)
    assert (tags.input_tags.two_d_array, tags.input_tags.three_d_array) == (True, True)


def test_codes_in_a_data_frame(data):
    pandas = pytest.importorskip("pandas")
    x, groups = data
    frame = pandas.DataFrame(x, columns=list("abcdef"), index=np.arange(42) + 7)
    model = small().set_output(transform="pandas").fit(frame, groups=pandas.Series(groups))
    codes = model.transform(frame)
    assert codes.columns.tolist() == model.get_feature_names_out().tolist()
    assert codes.index.equals(frame.index)
    assert model.feature_names_in_.tolist() == list("abcdef")


def test_a_search_tells_every_step_of_the_groups(data):
    x, groups = data
    # What fits or scores without the groups would warn, and warnings are errors here.
    with sklearn.config_context(enable_metadata_routing=True):
        asking = small(epochs=1).set_fit_request(groups=True).set_score_request(groups=True)
        for model in (asking, small(epochs=1)):
            search = GridSearchCV(
                model, {"style_dim": [1, 2]}, cv=GroupKFold(2), error_score="raise"
            )
            search.fit(x, groups=groups)
            assert search.best_estimator_.groups_ == tuple(sorted(NAMES))
            scores = cross_val_score(
                model, x, cv=GroupKFold(2), params={"groups": groups}, error_score="raise"
            )
            assert scores.shape == (2,)
        train, test = next(GroupKFold(2).split(x, groups=groups))
        alone = small(epochs=1).fit(x[train], groups=groups[train])
        assert scores[0] == alone.score(x[test], groups=groups[test])
        pipeline = make_pipeline(StandardScaler(), small(epochs=1)).fit(x, groups=groups)
        assert pipeline[-1].groups_ == tuple(sorted(NAMES))
        scaled = pipeline[0].transform(x)
        assert pipeline.score(x, groups=groups) == pipeline[-1].score(scaled, groups=groups)
        search = GridSearchCV(pipeline, {}, cv=GroupKFold(2), error_score="raise").fit(
            x, groups=groups
        )
        assert np.isfinite(search.best_score_)
        with pytest.raises(UnsetMetadataPassedError):
            pipeline.score(x, groups=groups, sample_weight=np.ones(len(x)))


def test_a_pipeline_without_routing(data):
    x, groups = data
    pipeline = make_pipeline(StandardScaler(), small()).fit(x, multilevelvae__groups=groups)
    scaled = StandardScaler().fit_transform(x)
    codes = small().fit_transform(scaled, groups=groups)
    assert np.array_equal(pipeline.transform(x), codes)
    back = pipeline.inverse_transform(codes)
    assert back.shape == x.shape


def test_verbose_says_how_every_epoch_went(data, capsys):
    x, groups = data
    small().fit(x, groups=groups)
    assert capsys.readouterr() == ("", "")
    model = small(verbose=1).fit(x, groups=groups)
    out, err = capsys.readouterr()
    elbo = model.history_.epochs[1].terms.per_observation()["elbo"]
    assert out == ""
    steps = model.history_.epochs[1].steps
    assert err.splitlines()[1] == f"epoch 2, step {steps}: {elbo:.2f} nats per row"


def test_what_was_trained_before_ctrl_c_is_kept(data, monkeypatch):
    x, groups = data

    def interrupted(*args, **options):
        history = fit(*args, **{**options, "epochs": 1})
        history.ended = "interrupted"
        return history

    model = small(device="auto")
    monkeypatch.setattr(multi_level_vae, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, groups=groups)
    assert len(model.history_.epochs) == 1
    assert model.transform(x).shape == (42, 5)
