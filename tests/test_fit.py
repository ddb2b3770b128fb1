"""``fit``: it learns, repeats itself, and leaves no trace."""

import math

import pyro
import pytest
import torch
from fitting import fit_small, make_pair, small_data, weights
from pyro import distributions as dist
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import nn

from pyro_mlvae import GroupSampler, InputError, fit, load_dataset


def test_two_fits_one_after_the_other_both_learn_digits():
    data = load_dataset("digits")
    for _ in range(2):
        model, guide = make_pair(data.event_shape, hidden=(64,), dim=4)
        before = weights(model, guide)
        optimizer = pyro.optim.Adam({"lr": 3e-3})
        history = fit(model, guide, GroupSampler(data, 10, 40), epochs=25, optimizer=optimizer)
        elbo = [row["elbo_per_observation"] for row in history.rows()]
        # From about -230 to about -15 nats per observation.
        assert elbo[0] < -100
        assert elbo[-1] > -30
        assert all(
            not torch.equal(b, a) for b, a in zip(before, weights(model, guide), strict=True)
        )


class UserModel(PyroModule):
    """Named nothing: its parameters are called after the attribute alone."""

    def __init__(self, linear, attribute):
        super().__init__()
        self.attribute = attribute
        setattr(self, attribute, linear(4, 5))

    def forward(self, batch):
        with pyro.plate("groups", batch.num_groups, dim=-1):
            content = pyro.sample("content", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        with pyro.plate("observations", len(batch), dim=-1):
            loc = getattr(self, self.attribute)(content.index_select(-2, batch.group))
            pyro.sample("x", dist.Normal(loc, 0.2).to_event(1), obs=batch.x)


class UserGuide(UserModel):
    def forward(self, batch):
        summed = torch.zeros(batch.num_groups, 5).index_add(0, batch.group, batch.x)
        # The very shapes of the model's layer, so that nothing but the names can tell them apart.
        layer = getattr(self, self.attribute)
        loc = summed @ layer.weight + layer.bias[:4]
        with pyro.plate("groups", batch.num_groups, dim=-1):
            pyro.sample("content", dist.Normal(loc, 0.1).to_event(1))


each_linear = pytest.mark.parametrize(
    "linear", [nn.Linear, PyroModule[nn.Linear]], ids=["torch", "pyro"]
)


@each_linear
def test_a_name_that_model_and_guide_share_is_refused(linear):
    with pytest.raises(
        InputError, match=r"'net\.(weight|bias)' would never be trained.*attribute 'net'"
    ):
        fit_small(UserModel(linear, "net"), UserGuide(linear, "net"))


@each_linear
def test_names_that_differ_train_both(linear):
    model, guide = UserModel(linear, "net"), UserGuide(linear, "other")
    before = weights(model, guide)
    history = fit_small(model, guide, epochs=20)
    assert all(not torch.equal(b, a) for b, a in zip(before, weights(model, guide), strict=True))
    assert history.epochs[-1].objective > history.epochs[0].objective


@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_seed_alone_decides_the_weights(estimator):
    results = []
    for caller, seed in [(0, 7), (1, 7), (0, 8)]:
        pair = make_pair()
        torch.manual_seed(caller)
        fit_small(*pair, seed=seed, estimator=estimator(max_plate_nesting=1))
        results.append(weights(*pair))
    first, again, other = results
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("validation", [None, small_data().batch()])
def test_the_callers_random_state_settings_and_parameter_store_stay_as_they_were(validation):
    mine = pyro.param("model$$$decoder.layers.0.weight", torch.tensor([1.0, 2.0]))
    pair = make_pair()
    state, settings = torch.get_rng_state(), pyro.settings.get()
    fit_small(*pair, validation=validation)
    assert torch.equal(torch.get_rng_state(), state)
    assert pyro.settings.get() == settings
    store = pyro.get_param_store()
    assert list(store.keys()) == ["model$$$decoder.layers.0.weight"]
    assert store["model$$$decoder.layers.0.weight"] is mine
    assert mine.tolist() == [1.0, 2.0]


class OwnSettings(GroupSampler):
    """Has Pyro's validation off while it has control, and between its minibatches."""

    def epoch(self, epoch):
        with pyro.validation_enabled(False):
            yield from super().epoch(epoch)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_sampler_with_settings_of_its_own_leaves_none_of_them_behind(epochs):
    settings = pyro.settings.get()
    assert settings["validate_poutine"]
    fit(*make_pair(), OwnSettings(small_data(), 3, 4), epochs=epochs)
    assert pyro.settings.get() == settings


def test_gradients_that_the_caller_left_behind_take_no_part():
    results = []
    for left_behind in (None, 1e3):
        pair = make_pair()
        for p in (p for module in pair for p in module.parameters()):
            p.grad = None if left_behind is None else torch.full_like(p, left_behind)
        fit_small(*pair, optimizer=pyro.optim.SGD({"lr": 1e-4}))
        results.append(weights(*pair))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


class Recording(pyro.optim.PyroOptim):
    """Adam that remembers the norm of all the gradients together, at every step."""

    def __init__(self):
        super().__init__(torch.optim.Adam, {"lr": 1e-3})
        self.norms = []

    def __call__(self, params, *args, **kwargs):
        self.norms.append(torch.stack([p.grad.norm() for p in params]).norm().item())
        super().__call__(params, *args, **kwargs)


def test_clip_norm_bounds_the_norm_of_the_whole_gradient():
    free, clipped, roomy = Recording(), Recording(), Recording()
    fit_small(optimizer=free)
    fit_small(optimizer=clipped, clip_norm=0.5)
    fit_small(optimizer=roomy, clip_norm=1e6)
    assert len(free.norms) == 6
    assert min(free.norms) > 1.0
    assert clipped.norms == pytest.approx([0.5] * 6, rel=1e-4)
    assert roomy.norms == pytest.approx(free.norms, rel=1e-4)


def test_validation_is_measured_when_asked_and_after_the_last_epoch():
    validation = small_data().batch()
    history = fit_small(epochs=5, validation=validation, validate_every=2)
    assert [r.epoch for r in history.epochs if r.validation is not None] == [2, 4, 5]
    assert history.epochs[1].validation.observations == len(validation)
    assert history.rows()[0]["validation_elbo_per_observation"] is None
    assert math.isfinite(history.rows()[1]["validation_elbo_per_observation"])


def test_the_training_part_is_measured_with_validation_and_changes_nothing_else():
    part, held_out = small_data().batch(), small_data(low=0.5).batch()
    pair, alone = make_pair(), make_pair()
    both = fit_small(*pair, validation=held_out, training_part=part, validate_every=2)
    one = fit_small(*alone, validation=held_out, validate_every=2)
    swapped = fit_small(validation=part, validate_every=2)
    assert all(map(torch.equal, weights(*pair), weights(*alone)))
    assert [r.validation for r in both.epochs] == [r.validation for r in one.epochs]
    assert [r.training_part for r in both.epochs] == [r.validation for r in swapped.epochs]
    assert both.rows()[0]["training_part_elbo_per_observation"] is None
    assert both.rows()[1]["training_part_observations_per_group"] == 6.0


def test_validation_draws_are_the_same_every_time_and_training_draws_are_not():
    still = pyro.optim.SGD({"lr": 0.0})
    data = small_data()
    sampler = GroupSampler(data, data.num_groups)
    records = fit(*make_pair(), sampler, epochs=3, validation=data.batch(), optimizer=still).epochs
    assert len({r.validation.elbo for r in records}) == 1
    assert len({r.terms.reconstruction for r in records}) == 3


PARTICLES = [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}]


@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, RenyiELBO])
@pytest.mark.parametrize("particles", PARTICLES, ids=["one", "in-turn", "vectorised"])
def test_the_terms_add_up_to_the_objective(estimator, particles):
    if estimator is RenyiELBO and not particles:
        particles = {"num_particles": 2}
    options = {"estimator": estimator(max_plate_nesting=1, **particles), "dtype": torch.float64}
    for record in fit_small(**options).epochs:
        terms, objective = record.terms, record.objective * record.terms.groups
        assert set(terms.kl) == {"content", "style"}
        assert (terms.observations, terms.groups) == (16, 4)
        if estimator in (Trace_ELBO, TraceGraph_ELBO):
            assert objective == pytest.approx(terms.elbo, abs=1e-5)
        elif estimator is RenyiELBO:  # By Jensen's inequality, on the very same draws.
            assert terms.elbo < objective < terms.elbo + 100
        else:  # The objective has divergences in closed form, the terms those of the draws.
            assert objective == pytest.approx(terms.elbo, abs=30)
            assert objective != pytest.approx(terms.elbo, abs=1e-5)


@pytest.mark.parametrize("how", ["asked for", "the modules'"])
def test_training_is_in_the_dtype_asked_for_or_else_the_modules(how):
    model, guide = make_pair()
    seen, options = set(), {"dtype": torch.float64}
    if how == "the modules'":
        model, guide, options = model.double(), guide.double(), {}
    guide.encoder.layers.register_forward_hook(
        lambda module, inputs, output: seen.add(output.dtype)
    )
    fit_small(model, guide, validation=small_data().batch(), **options)
    assert seen == {w.dtype for w in weights(model, guide)} == {torch.float64}


def test_the_callback_gets_every_record():
    records = []
    history = fit_small(callback=records.append)
    assert records == history.epochs
    assert [record.epoch for record in records] == [1, 2, 3]
