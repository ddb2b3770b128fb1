"""MIWAE, PIWAE, CIWAE and reweighted wake-sleep by group, against group-iwae of the same draws."""

import pyro
import pytest
import torch
from estimating import LOADINGS, SIZES, both_models, gradient, parameters, problem, standard_error
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import SVI

from pyro_mlvae import InputError, make_estimator
from pyro_mlvae.estimators import GroupCIWAE, GroupIWAE, GroupMIWAE, GroupPIWAE, GroupRWS
from pyro_mlvae.solved import ThreeLevelGaussian, ThreeLevelGaussianGuide, ThreeLevelGaussianModel
from pyro_mlvae.solved.bounds import exact_eubo
from pyro_mlvae.training import Objective, fused_adam

VECTORISED = {"max_plate_nesting": 1, "vectorize_particles": True}
EQUAL = {"atol": 1e-9, "rtol": 1e-9}


def seeded(estimator, model, guide, batch):
    """The value and the gradient of draws that are the same for every estimator."""
    torch.manual_seed(3)
    return gradient(estimator, model, guide, batch)


def weights_of(model, guide, batch, count):
    torch.manual_seed(3)
    return GroupIWAE(count, **VECTORISED).log_weights(model, guide, batch)[0]


def three_levels():
    solved = ThreeLevelGaussian.correlated(
        dim=6, content_dim=3, style_dim=2, noise_scale=0.7, seed=3
    )
    guide = ThreeLevelGaussianGuide.exact(solved)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, dtype=torch.float64)
    model = ThreeLevelGaussianModel(solved)
    decoder = model.decoder
    for name, value in list(decoder.named_buffers()):
        delattr(decoder, name)
        setattr(
            decoder, name, torch.nn.Parameter(value.clone(memory_format=torch.contiguous_format))
        )
    sizes, parent = torch.tensor([1, 4, 2, 3]), torch.tensor([0, 1, 0, 1])
    return model, guide, solved.sample(sizes, parent, seed=1)


PROBLEMS = {name: lambda make=make: problem(make, by=0.2)[1:] for name, make in LOADINGS.items()}
each_problem = pytest.mark.parametrize(
    "make", [*PROBLEMS.values(), three_levels], ids=[*PROBLEMS, "three"]
)


@each_problem
def test_miwae_is_the_mean_of_group_iwaes_of_the_same_draws(make):
    model, guide, batch = make()
    found = seeded(GroupMIWAE(6, outer=2, **VECTORISED), model, guide, batch)
    parts = weights_of(model, guide, batch, 6).split(3)
    expected = torch.stack([GroupIWAE(3).bound(part).sum() for part in parts]).mean()
    torch.testing.assert_close(found["value"][0], expected.detach(), **EQUAL)
    for parameter in parameters(model, guide).values():
        parameter.grad = None
    expected.backward()
    for name, parameter in parameters(model, guide).items():
        torch.testing.assert_close(found[name], parameter.grad.flatten(), **EQUAL)


@both_models
def test_miwae_of_one_outer_particle_is_group_iwae_and_of_one_inner_trace(make):
    _, model, guide, batch = problem(make)
    for outer, name in ((1, "group-iwae"), (6, "trace")):
        found = seeded(GroupMIWAE(6, outer=outer, **VECTORISED), model, guide, batch)
        expected = seeded(make_estimator(name, 6), model, guide, batch)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, **EQUAL)


@both_models
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_ciwae_mixes_elbo_and_group_iwae_in_value_and_gradient(make, beta):
    _, model, guide, batch = problem(make)
    found = seeded(GroupCIWAE(4, beta, **VECTORISED), model, guide, batch)
    elbo = seeded(make_estimator("trace", 4), model, guide, batch)
    bound = seeded(make_estimator("group-iwae", 4), model, guide, batch)
    for key, value in found.items():
        torch.testing.assert_close(value, beta * elbo[key] + (1 - beta) * bound[key], **EQUAL)


@each_problem
@pytest.mark.parametrize("vectorised", [False, True])
def test_piwae_has_group_iwaes_gradient_for_the_model_and_miwaes_for_the_guide(make, vectorised):
    model, guide, batch = make()
    options = VECTORISED | {"vectorize_particles": vectorised}
    found = seeded(GroupPIWAE(6, outer=3, **options), model, guide, batch)
    tight = seeded(GroupIWAE(6, **options), model, guide, batch)
    mean = seeded(GroupMIWAE(6, outer=3, **options), model, guide, batch)
    assert any(not torch.allclose(tight[name], mean[name], rtol=0.01) for name in tight)
    for name, value in found.items():
        expected = mean if name.startswith("guide") else tight
        torch.testing.assert_close(value, expected[name], **EQUAL)


def test_piwae_survives_an_outer_particle_without_any_share():
    """Far from the posterior all weight lies on one outer particle; the others stay finite."""
    _, model, guide, batch = problem(LOADINGS["correlated"], by=3.0)
    model, guide, batch = model.float(), guide.float(), batch.to(dtype=torch.float32)
    weights = weights_of(model, guide, batch, 4).detach().unflatten(0, (4, 1)).logsumexp(1)
    assert weights.softmax(0).min() == 0.0
    found = seeded(GroupPIWAE(4, outer=4, **VECTORISED), model, guide, batch)
    mean = seeded(GroupMIWAE(4, outer=4, **VECTORISED), model, guide, batch)
    for name, value in mean.items():
        if name.startswith("guide"):
            torch.testing.assert_close(
                found[name], value, atol=1e-3 * float(value.abs().max()), rtol=1e-3
            )


@both_models
def test_wake_sleep_weighs_scores_of_the_guide_and_gives_the_model_group_iwaes_gradient(make):
    _, model, guide, batch = problem(make)
    found = seeded(GroupRWS(5, **VECTORISED), model, guide, batch)
    bound = seeded(make_estimator("group-iwae", 5), model, guide, batch)
    torch.testing.assert_close(found["value"], bound["value"], **EQUAL)
    weights = weights_of(model, guide, batch, 5).detach().softmax(0)
    torch.manual_seed(3)
    vectorised = pyro.plate("num_particles_vectorized", 5, dim=-2)(guide)
    held = poutine.trace(vectorised).get_trace(batch)
    for site in ("content", "style"):
        held.nodes[site]["value"] = held.nodes[site]["value"].detach()
    again = poutine.trace(poutine.replay(vectorised, trace=held)).get_trace(batch)
    again.compute_log_prob()
    score = (weights * again.nodes["content"]["log_prob"]).sum()
    score = score + (weights[:, batch.group] * again.nodes["style"]["log_prob"]).sum()
    guide.zero_grad()
    score.backward()
    for name, parameter in parameters(model, guide).items():
        expected = parameter.grad.flatten() if name.startswith("guide") else bound[name]
        torch.testing.assert_close(found[name], expected, **EQUAL)


@both_models
def test_at_the_exact_posterior_wake_sleeps_gradient_for_the_guide_is_zero_on_average(make):
    _, model, guide, batch = problem(make, by=0.0)
    found = [gradient(GroupRWS(50, **VECTORISED), model, guide, batch) for _ in range(60)]
    for name in found[0]:
        if name.startswith("guide"):
            stacked = torch.stack([g[name] for g in found])
            assert (stacked.mean(0).abs() < 4.5 * standard_error(stacked) + 1e-12).all(), name


@both_models
def test_with_many_particles_wake_sleep_descends_the_exact_divergence_from_posterior_to_guide(make):
    solved, model, guide, batch = problem(make, by=0.03)
    guide.zero_grad()
    (-exact_eubo(solved, guide, batch)).backward()
    exact = {f"guide {n}": p.grad.flatten().clone() for n, p in guide.named_parameters()}
    found = [gradient(GroupRWS(1000, **VECTORISED), model, guide, batch) for _ in range(25)]
    for name, expected in exact.items():
        stacked = torch.stack([g[name] for g in found])
        # Self-normalised weights are biased by what vanishes with the number of particles.
        margin = 4.5 * standard_error(stacked) + 0.02 * expected.abs().max()
        assert ((stacked.mean(0) - expected).abs() < margin).all(), name


def test_wake_sleep_trains_a_guide_that_is_not_reparameterised():
    _, model, guide, batch = problem(LOADINGS["orthogonal"])

    class Opaque(dist.Normal):
        has_rsample = False

    class Message(poutine.messenger.Messenger):
        def _pyro_sample(self, msg):
            if msg["name"] in ("content", "style"):
                base = msg["fn"].base_dist
                msg["fn"] = Opaque(base.loc, base.scale).to_event(1)

    opaque = Message()(guide)
    with pytest.raises(InputError, match="needs reparameterised draws"):
        GroupIWAE(4, **VECTORISED).loss(model, opaque, batch)
    before = guide.encoder.content.weight.clone()
    svi = SVI(model, opaque, fused_adam(1e-2), loss=Objective(GroupRWS(4, **VECTORISED)))
    svi.step(batch)
    assert not torch.equal(before, guide.encoder.content.weight)


@pytest.mark.parametrize("kind", [GroupMIWAE, GroupPIWAE])
def test_outer_particles_must_divide_all(kind):
    assert len(SIZES) == 3
    with pytest.raises(InputError, match="outer must divide num_particles = 10, got 3"):
        kind(10, outer=3)
    with pytest.raises(InputError, match="outer must be a positive whole number, got 0"):
        kind(10, outer=0)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_the_weight_of_the_elbo_lies_between_zero_and_one(beta):
    with pytest.raises(InputError, match="beta, the weight of the ELBO, must be in"):
        GroupCIWAE(10, beta)
