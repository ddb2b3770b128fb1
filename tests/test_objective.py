"""The objective as a Pyro ELBO: in a bare SVI, in fit, in parts, whatever is switched off."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from fitting import make_pair, small_data
from normals import posterior_of
from pyro import poutine
from pyro.infer import SVI, JitTrace_ELBO, ReweightedWakeSleep, TraceEnum_ELBO, TraceTMC_ELBO
from pyro.infer.trace_tail_adaptive_elbo import TraceTailAdaptive_ELBO
from torch import nn
from torch.distributions import kl_divergence

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    GroupedDataset,
    GroupSampler,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    fit,
    make_estimator,
)
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.latents import encode
from pyro_mlvae.solved import ThreeLevelGaussian, ThreeLevelGaussianGuide, ThreeLevelGaussianModel
from pyro_mlvae.training import Objective, elbo_terms, fused_adam
from pyro_mlvae.training.parts import InParts, in_parts
from pyro_mlvae.training.ranks import Ranks


def weights(*modules):
    return torch.cat([p.detach().flatten() for module in modules for p in module.parameters()])


def test_a_bare_svi_is_what_fit_does():
    sampler = GroupSampler(small_data(), 3, 4)
    model, guide = make_pair()
    fit(model, guide, sampler, epochs=2)
    bare, bare_guide = make_pair()
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        svi = SVI(bare, bare_guide, fused_adam(1e-3), loss=Objective())
        for epoch in range(2):
            torch.manual_seed(mixed_seed(0, epoch + 1))
            for batch in sampler.epoch(epoch):
                svi.step(batch)
    torch.testing.assert_close(weights(bare, bare_guide), weights(model, guide), rtol=0, atol=0)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_it_trains_where_gradients_are_off(off):
    ends = []
    for context in (torch.enable_grad, off):
        model, guide = make_pair()
        with context():
            fit(model, guide, GroupSampler(small_data(), 3, 4), epochs=2)
        ends.append(weights(model, guide))
    assert torch.equal(*ends)


def test_every_epoch_draws_anew():
    model, guide = make_pair()
    told, noise = guide.forward, []
    guide.forward = lambda batch: (noise.append(torch.get_rng_state()), told(batch))[1]
    fit(model, guide, GroupSampler(small_data(), 6), epochs=3, capture="off")
    states = {tuple(state.tolist()) for state in noise}
    assert len(states) == len(noise)


class Functions:
    """A model with a parameter that belongs to no module."""

    def __init__(self):
        self.inner, self.guide = make_pair()

    def model(self, batch):
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with poutine.scale(scale=1.0):
            self.inner(batch)
        pyro.factor("told", -((scale - 3.0) ** 2))


def test_a_parameter_of_a_function_stays_in_the_callers_store_and_goes_on_from_there():
    pyro.clear_param_store()
    functions = Functions()
    steps = []
    for _ in range(2):
        fit(functions.model, functions.guide, GroupSampler(small_data(), 6), epochs=20,
            optimizer=fused_adam(0.05), capture="off")  # fmt: skip
        steps.append(float(pyro.param("scale").detach()))
    pyro.clear_param_store()
    assert 1.0 < steps[0] < steps[1]


@pytest.mark.parametrize(
    "handler", [lambda p: poutine.scale(p, scale=1.0), lambda p: poutine.mask(p, mask=True)]
)
def test_handlers_around_modules_are_seen_through(handler):
    model, guide = make_pair()
    fit(
        handler(model), handler(guide), GroupSampler(small_data(), 6), epochs=2, dtype=torch.float64
    )
    plain, plain_guide = make_pair()
    fit(plain, plain_guide, GroupSampler(small_data(), 6), epochs=2, dtype=torch.float64)
    assert next(model.parameters()).dtype == torch.float64
    torch.testing.assert_close(
        weights(model, guide), weights(plain, plain_guide), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.BatchNorm1d(5)], ids=["dropout", "batch norm"]
)
def test_training_is_in_train_mode_and_test_time_in_eval_mode(layer):
    model, guide = make_pair()
    modes = []
    layer.register_forward_hook(lambda module, *_: modes.append(module.training))
    guide.encoder = Wrapped(layer, guide.encoder)
    guide.eval()
    fit(model, guide, GroupSampler(small_data(), 6), epochs=2, capture="off")
    assert True in modes
    assert not any(part.training for part in guide.modules())
    guide.train()
    modes.clear()
    codes = encode(guide, small_data())
    again = encode(guide, small_data(), batch_size=7)
    elbo_terms(model, guide, small_data().batch())
    assert set(modes) == {False}
    torch.testing.assert_close(codes.features, again.features)
    assert all(part.training for part in guide.modules())


class Wrapped(nn.Module):
    """A layer before an encoder."""

    def __init__(self, layer, encoder):
        super().__init__()
        self.layer, self.encoder = layer, encoder
        self.content_dim, self.style_dim = encoder.content_dim, encoder.style_dim

    def forward(self, x):
        return self.encoder(self.layer(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        JitTrace_ELBO(),
        ReweightedWakeSleep(2),
        TraceTailAdaptive_ELBO(3),
        TraceTMC_ELBO(),
        TraceEnum_ELBO(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_elbos_of_pyros_that_are_none_here_are_refused_with_the_remedy(estimator):
    with pytest.raises(
        InputError, match=f"{type(estimator).__name__} is no objective here, as .*: .*use"
    ):
        Objective(estimator)


@pytest.mark.filterwarnings("ignore")
def test_an_enumerated_site_is_refused_with_the_remedy():
    model, guide = make_pair()
    told = guide.forward

    def forward(batch):
        pyro.sample("kind", dist.Categorical(torch.ones(2)), infer={"enumerate": "parallel"})
        return told(batch)

    guide.forward = forward
    with pytest.raises(InputError, match=r"'kind' is enumerated.*marginalise"):
        Objective().loss(model, guide, small_data().batch())


@pytest.mark.filterwarnings("ignore")
def test_where_all_is_frozen_nothing_is_trained_and_it_says_so():
    model, guide = make_pair()
    for module in (model, guide):
        module.requires_grad_(False).eval()
    with pytest.raises(InputError, match="nothing would be trained"):
        fit(model, guide, GroupSampler(small_data(), 6), epochs=1)


@pytest.mark.parametrize("estimator", ["trace", "mean-field", "group-iwae", "local"])
def test_parts_add_up_to_the_whole_minibatch(estimator, monkeypatch):
    # Every draw is the loc, so that a part draws what the whole draws.
    monkeypatch.setattr(torch.distributions.normal, "_standard_normal", torch.zeros)
    batch = small_data().batch().to(dtype=torch.float64)
    found = []
    for at_once in (len(batch), 5):
        model, guide = (module.double() for module in make_pair())
        with pyro.get_param_store().scope():
            value = InParts(Objective(make_estimator(estimator)), at_once).loss_and_grads(
                model, guide, batch
            )
        gradients = [p.grad.flatten() for module in (model, guide) for p in module.parameters()]
        found.append((value, torch.cat(gradients)))
    assert len(in_parts(batch, 5)) > 1
    (whole, gradient), (parts, added) = found
    assert parts == pytest.approx(whole, rel=1e-12)
    torch.testing.assert_close(added, gradient, rtol=0, atol=1e-12 * float(gradient.abs().max()))


def test_parts_keep_super_groups_together_and_their_evidence():
    solved = ThreeLevelGaussian.correlated()
    parent = torch.tensor([1, 0, 1, 0, 1])
    batch = solved.sample(torch.tensor([2, 3, 1, 2, 2]), parent)
    pair = ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved)
    with pyro.get_param_store().scope():
        value = InParts(Objective(), 5, super_groups=True).loss_and_grads(*pair, batch)
    # Of the exact posterior every draw has the evidence, which groups torn apart would not have.
    assert value * batch.num_groups == pytest.approx(
        -float(solved.log_evidence(batch).sum()), rel=1e-9
    )


class TwoProcesses(Ranks):
    """One of two processes, of which none has to run."""

    def __init__(self, rank):
        super().__init__()
        self.rank, self.size = rank, 2


@pytest.mark.parametrize("sizes", [[1, 9, 2, 5, 1, 3, 4], [3, 3]])
def test_the_objectives_of_two_processes_average_to_that_of_the_minibatch(sizes):
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    data = GroupedDataset.from_arrays(torch.rand(len(group), 5), group)

    def groupwise(batch):
        return sum(float(batch.x[batch.group == g].sum()) for g in range(batch.num_groups))

    for sampler in (GroupSampler(data, len(sizes)), Plain(data)):
        (whole,) = sampler.epoch(0)
        total = 0.0
        for rank in (0, 1):
            ((batch, weight),) = TwoProcesses(rank).shares(sampler, 0)
            total += weight * groupwise(batch) / batch.num_groups / 2
        assert total == pytest.approx(groupwise(whole) / whole.num_groups, rel=1e-5)


class Plain:
    """A sampler without indices."""

    def __init__(self, data):
        self.data = data

    def epoch(self, number):
        yield self.data.batch()


class Informed(MLVAE):
    """A prior of content that depends on what is known of a group."""

    def content_prior(self, groups):
        return dist.Normal(groups.of_groups["centre"], 1.0).to_event(1)


def test_local_has_the_prior_of_the_observations_own_group():
    torch.manual_seed(0)
    model = Informed(MLPDecoder((5,), 2, 2, hidden=(8,)), NormalLikelihood(), 2, 2).double()
    guide = ProductOfNormals(MLPEncoder((5,), 2, 2, hidden=(8,))).double()
    centre = 3.0 * torch.randn(4, 2).double()
    group = torch.tensor([2, 0, 1, 3, 2, 0, 3])
    batch = GroupedBatch(torch.rand(7, 5).double(), group, 4, of_groups={"centre": centre})
    objective = Objective(make_estimator("local"))
    objective.loss(model, guide, batch)
    posterior = posterior_of(guide, batch)
    exact = kl_divergence(
        dist.Normal(posterior.loc, posterior.scale), dist.Normal(centre, 1.0)
    ).sum()
    assert float(objective.terms.kl["content"]) == pytest.approx(float(exact.detach()), rel=1e-10)


def test_a_field_that_the_data_lacks_is_named_before_training():
    model = Informed(MLPDecoder((5,), 2, 2), NormalLikelihood(), 2, 2)
    guide = ProductOfNormals(MLPEncoder((5,), 2, 2))
    with pytest.raises(
        InputError, match=r"of_groups\['centre'\].*none.*from_arrays\(..., of_groups="
    ):
        fit(model, guide, GroupSampler(small_data(), 6), epochs=1)
