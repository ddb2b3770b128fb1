"""ELBO estimators on what Pyro can express: SVI, fit, functions, masks, plates, any store."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from estimating import OURS, gradient, problem
from fitting import Steps
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import nn
from torch.distributions import constraints

from pyro_mlvae import GroupedBatch, fit
from pyro_mlvae.estimators import ESTIMATORS, StickingTheLanding, make_estimator
from pyro_mlvae.ops.normals import sum_by_group
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel

MISSING = -99.0
PATHS = ["stl", "dreg"]
each_of_ours = pytest.mark.parametrize("name", OURS)
one_or_three = pytest.mark.parametrize("num_particles", [1, 3])


class Functions:
    """A user's own model and guide: plain functions, in which an observation may be missing."""

    def __init__(self):
        self.decoder, self.encoder = nn.Linear(4, 5).double(), nn.Linear(5, 4).double()

    def model(self, batch):
        pyro.module("decoder", self.decoder)
        noise = pyro.param("noise", torch.tensor(0.7).double(), constraint=constraints.positive)
        prior = dist.Normal(batch.x.new_zeros(2), 1.0).to_event(1)
        with pyro.plate("groups", batch.num_groups, dim=-1):
            content = pyro.sample("content", prior)
        with (
            pyro.plate("observations", len(batch), dim=-1),
            poutine.mask(mask=batch.x[:, 0] != MISSING),
        ):
            style = pyro.sample("style", prior)
            loc = self.decoder(torch.cat([content.index_select(-2, batch.group), style], -1))
            pyro.sample("x", dist.Normal(loc, noise).to_event(1), obs=batch.x)

    def guide(self, batch):
        pyro.module("encoder", self.encoder)
        ones = torch.ones(2).double()
        content_scale = pyro.param("content_scale", 0.5 * ones, constraint=constraints.positive)
        style_scale = pyro.param("style_scale", 0.8 * ones, constraint=constraints.positive)
        content_loc, style_loc = self.encoder(batch.x).chunk(2, -1)
        seen = batch.x[:, 0] != MISSING
        with pyro.plate("groups", batch.num_groups, dim=-1):
            loc = sum_by_group(content_loc * seen.unsqueeze(-1), batch.group, batch.num_groups)
            content = pyro.sample("content", dist.Normal(loc, content_scale).to_event(1))
        with pyro.plate("observations", len(batch), dim=-1), poutine.mask(mask=seen):
            style_loc = style_loc - 0.5 * content.index_select(-2, batch.group)
            pyro.sample("style", dist.Normal(style_loc, style_scale).to_event(1))

    def gradient(self, estimator, batch):
        """Value and gradient, by parameter of the store."""
        found = dict(pyro.get_param_store().named_parameters())
        for parameter in found.values():
            parameter.grad = None
        value = estimator.loss_and_grads(self.model, self.guide, batch)
        stored = pyro.get_param_store().named_parameters()
        return {"value": torch.tensor(value)} | {name: p.grad.clone() for name, p in stored}


def small_batch():
    return GroupedBatch(torch.randn(6, 5).double(), torch.tensor([0, 2, 1, 0, 1, 2]), 3)


@each_of_ours
@one_or_three
def test_svi_trains_every_parameter_of_plain_functions(name, num_particles):
    functions, batch = Functions(), small_batch()
    svi = SVI(
        functions.model,
        functions.guide,
        Adam({"lr": 0.05}),
        loss=make_estimator(name, num_particles),
    )
    before = None
    losses = []
    for _ in range(30):
        losses.append(svi.step(batch))
        now = {n: p.detach().clone() for n, p in pyro.get_param_store().named_parameters()}
        if before is not None:
            assert all((now[n] != before[n]).any() for n in now)
        before = now
    assert len(before) == 7
    assert sum(losses[-5:]) < sum(losses[:5]) - 5.0
    assert svi.evaluate_loss(batch) == pytest.approx(losses[-1], abs=15.0)


@pytest.mark.parametrize("name", ["group-iwae", "group-renyi", *PATHS])
def test_on_plain_functions_whose_parameters_are_stored_already_it_is_trace_elbo(name):
    functions, batch = Functions(), small_batch()
    svi = SVI(functions.model, functions.guide, Adam({"lr": 0.05}), loss=Trace_ELBO())
    for _ in range(3):
        svi.step(batch)
    found = []
    for estimator in make_estimator(name), Trace_ELBO():
        torch.manual_seed(4)
        found.append(functions.gradient(estimator, batch))
    of_guide = {n for n in found[0] if n.startswith(("encoder", "content_scale", "style_scale"))}
    assert len(of_guide) == 4
    for key, value in found[0].items():
        same = torch.allclose(value, found[1][key], atol=1e-10, rtol=1e-10)
        # The guide's gradient is that of the path alone.
        assert same == (name not in PATHS or key not in of_guide), key


@each_of_ours
@one_or_three
def test_what_is_masked_counts_for_nothing(name, num_particles, monkeypatch):
    """Value and gradient are those of a batch without the observation, with equal draws."""
    table = torch.randn(4, 10, 2).double()

    def noise(shape, dtype, device):
        return table[tuple(slice(n) for n in (1, *shape)[-3:])].reshape(shape)

    monkeypatch.setattr("torch.distributions.normal._standard_normal", noise)
    functions, whole = Functions(), small_batch()
    absent = torch.full((2, 5), MISSING).double()
    masked = GroupedBatch(
        torch.cat([whole.x, absent]), torch.cat([whole.group, torch.tensor([1, 0])]), 3
    )
    estimator = make_estimator(name, num_particles)
    functions.gradient(estimator, whole)
    expected, found = (functions.gradient(estimator, batch) for batch in (whole, masked))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    assert found["encoder$$$weight"].abs().max() > 1e-3


@pytest.mark.parametrize("name", ESTIMATORS)
@one_or_three
@pytest.mark.parametrize("programs", ["modules", "functions with masks"])
def test_fit_takes_each_and_its_history_adds_up(name, num_particles, programs):
    if programs == "modules":
        _, model, guide, batch = problem(LinearGaussian.correlated)
    else:
        functions, batch = Functions(), small_batch()
        model, guide = functions.model, functions.guide
        batch.x[-1] = MISSING
    estimator = make_estimator(name, num_particles)
    history = fit(model, guide, Steps(batch), epochs=3, estimator=estimator, dtype=torch.float64)
    for record in history.epochs:
        assert sorted(record.terms.kl) == ["content", "style"]
        assert (record.terms.observations, record.terms.groups) == (len(batch), batch.num_groups)
        elbo = record.terms.elbo / record.terms.groups
        if name == "mean-field":
            # The divergences that are recorded are those of the draws.
            assert record.objective == pytest.approx(elbo, rel=0.3)
        elif (num_particles == 1 and name != "nested-iwae") or name in (
            "trace",
            "graph",
            "stl",
            "local",
        ):
            assert record.objective == pytest.approx(elbo, rel=1e-6)
        else:
            # A mean of logarithms is at most the logarithm of the mean.
            assert record.objective > elbo


@pytest.mark.parametrize("name", PATHS)
@one_or_three
def test_parameters_that_the_store_shadows_are_held_constant_too(name, num_particles):
    """A second pair of the same names, as in a notebook: the store keeps the first's parameters."""
    for _ in range(2):
        _, model, guide, batch = problem(LinearGaussian.correlated, by=0.0)
        found = gradient(make_estimator(name, num_particles), model, guide, batch)
    assert all(g.abs().max() < 1e-9 for key, g in found.items() if key.startswith("guide"))


@each_of_ours
@one_or_three
def test_parameters_may_be_the_modules_own_and_in_no_store(name, num_particles):
    with pyro.settings.context(module_local_params=True):
        solved = LinearGaussian.correlated(dim=5, content_dim=3, style_dim=2)
        model, guide = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
        batch = solved.sample(torch.tensor([2, 3]))
        loss = make_estimator(name, num_particles)(model, guide)(batch)
        loss.backward()
    assert not list(pyro.get_param_store().named_parameters())
    largest = max(p.grad.abs().max().item() for p in guide.parameters())
    assert largest < 1e-9 if name in PATHS else largest > 0.01


def test_a_plate_that_subsamples_chooses_once_for_guide_and_model():
    x = 100.0 * torch.arange(20).double()

    def model():
        with pyro.plate("data", 20, subsample_size=4) as chosen:
            z = pyro.sample("z", dist.Normal(x[chosen], 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[chosen])

    def guide():
        with pyro.plate("data", 20, subsample_size=4) as chosen:
            pyro.sample("z", dist.Normal(x[chosen] + pyro.param("off", torch.tensor(0.1)), 0.7))

    for seed in range(5):
        torch.manual_seed(seed)
        expected = Trace_ELBO().loss(model, guide)
        torch.manual_seed(seed)
        assert StickingTheLanding().loss_and_grads(model, guide) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["group-iwae", "group-renyi", *PATHS])
@one_or_three
def test_a_plate_of_pixels_inside_that_of_observations_is_part_of_the_observation(
    name, num_particles
):
    """Pixels are no further particles: value and gradient are those of one site of vectors."""
    batch, weight = small_batch(), torch.randn(5).double()

    def model(batch, plated):
        with pyro.plate("groups", 3, dim=-1):
            content = pyro.sample("content", dist.Normal(batch.x.new_zeros(()), 1.0))
        with pyro.plate("observations", 6, dim=-1):
            own = content.index_select(-1, batch.group)
            if plated:
                with pyro.plate("pixels", 5, dim=-2):
                    pyro.sample("x", dist.Normal(own * weight.unsqueeze(-1), 1.0), obs=batch.x.mT)
            else:
                pyro.sample(
                    "x", dist.Normal(own.unsqueeze(-1) * weight, 1.0).to_event(1), obs=batch.x
                )

    def guide(batch, plated):
        with pyro.plate("groups", 3, dim=-1):
            pyro.sample("content", dist.Normal(pyro.param("loc", torch.ones(3).double()), 0.5))

    found = []
    for plated in (False, True):
        pyro.clear_param_store()
        estimator = ESTIMATORS[name](
            num_particles=num_particles, vectorize_particles=True, max_plate_nesting=1 + plated
        )
        torch.manual_seed(6)
        value = estimator.loss_and_grads(model, guide, batch, plated)
        found.append((torch.tensor(value), pyro.param("loc").grad.clone()))
    torch.testing.assert_close(*found)


def test_weights_can_be_asked_for_by_themselves():
    _, model, guide, batch = problem(LinearGaussian.correlated, torch.tensor([2, 3]))
    weights = []
    for name in ("group-iwae", "dreg"):
        torch.manual_seed(0)
        weights.append(make_estimator(name, 4).log_weights(model, guide, batch)[0])
    assert weights[0].shape == (4, 2)
    torch.testing.assert_close(*weights)
