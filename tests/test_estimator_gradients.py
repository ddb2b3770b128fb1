"""Gradients of ELBO estimators: against closed forms, against each other, and draw by draw."""

from itertools import pairwise

import pytest
import torch
from estimating import (
    OURS,
    FixedNoise,
    both_models,
    exact_elbo,
    gradient,
    gradients,
    parameters,
    problem,
    standard_error,
)
from pyro import poutine
from pyro.infer import Trace_ELBO

from pyro_mlvae.estimators import StickingTheLanding, make_estimator
from pyro_mlvae.estimators.pathwise import pin
from pyro_mlvae.solved import LinearGaussian


def largest_z(first, second):
    """The largest standardised difference of means, along several directions of every parameter.

    ``second`` holds draws as well, or exact values.
    """
    largest = 0.0
    for name, values in first.items():
        other = second[name]
        directions = [torch.randn(values.shape[1]).double() for _ in range(3)]
        for direction in [*directions, other.reshape(-1, values.shape[1]).mean(0)]:
            along, towards = values @ direction, other @ direction
            variance = standard_error(along) ** 2
            variance += standard_error(towards) ** 2 if towards.ndim else 0.0
            # What has no variance may differ by rounding.
            error = (along.mean() - towards.mean()).abs() - 1e-9
            largest = max(largest, float(error / variance.sqrt().clamp(min=1e-12)))
    return largest


@both_models
@pytest.mark.parametrize("name", ["trace", "stl", "local"])
def test_value_and_gradient_of_ten_thousand_draws_are_those_of_the_elbo(make, name):
    solved, model, guide, batch = problem(make)
    elbo = exact_elbo(model, guide, batch)
    found = parameters(model, guide)
    exact = dict(zip(found, torch.autograd.grad(elbo, list(found.values())), strict=True))
    exact = {name: value.flatten() for name, value in exact.items()} | {
        "value": elbo.detach()[None]
    }
    assert solved.log_evidence(batch).sum() - elbo > 1.0
    z = largest_z(gradients(make_estimator(name), model, guide, batch), exact)
    print(f"largest z {z:.2f}")
    assert z < 4.0


@both_models
def test_dreg_has_the_value_and_on_average_the_gradient_of_group_iwae(make):
    _, model, guide, batch = problem(make)
    dreg, iwae, stl = (
        gradients(make_estimator(name, 4), model, guide, batch, copies=100)
        for name in ("dreg", "group-iwae", "stl")
    )
    z = largest_z(dreg, iwae)
    print(f"largest z {z:.2f}")
    assert z < 4.0
    # Were the weights alike, it would not matter which power of them is taken.
    assert largest_z(stl, iwae) > 10.0


@both_models
@pytest.mark.parametrize("name", ["trace", "group-iwae", "group-renyi", "local"])
def test_the_gradient_is_that_of_the_very_value(make, name):
    """By central differences with the noise held, so its mean is the gradient of the mean."""
    _, model, guide, batch = problem(make)
    estimator = make_estimator(name, 3)
    torch.manual_seed(5)
    found = gradient(estimator, model, guide, batch)
    for key, parameter in parameters(model, guide).items():
        direction = torch.randn(parameter.shape).double()
        values = []
        for step in (1e-5, -2e-5, 1e-5):
            torch.manual_seed(5)
            with torch.no_grad():
                parameter += step * direction
            values.append(-estimator.loss(model, guide, batch))
        slope = (values[0] - values[1]) / 2e-5
        assert float(found[key] @ direction.flatten()) == pytest.approx(
            slope, rel=1e-4, abs=1e-4
        ), key


@both_models
def test_sticking_the_landing_leaves_out_the_score_draw_by_draw(make):
    _, model, guide, batch = problem(make)
    noise = {
        "content": [torch.randn(3, 3).double()],
        "style": [torch.randn(len(batch), 2).double()],
    }
    with FixedNoise(**noise):
        whole, path = (
            gradient(e, model, guide, batch) for e in (Trace_ELBO(), StickingTheLanding())
        )
        drawn = poutine.trace(guide).get_trace(batch)
    held = {site: drawn.nodes[site]["value"].detach() for site in ("content", "style")}
    guide.zero_grad()
    (-poutine.trace(pin(guide, held)).get_trace(batch).log_prob_sum()).backward()
    for name, parameter in parameters(model, guide).items():
        score = parameter.grad.flatten() if name.startswith("guide") else 0.0
        torch.testing.assert_close(whole[name], path[name] + score, atol=1e-9, rtol=1e-9)


@both_models
def test_on_one_group_dreg_squares_the_weights_of_each_particles_path(make):
    """Draw by draw: the guide's paths by the squares, the model's gradients by the weights."""
    _, model, guide, batch = problem(make, torch.tensor([3]))
    noise = {"content": torch.randn(4, 1, 3).double(), "style": torch.randn(4, 3, 2).double()}
    with FixedNoise(**{site: [n] for site, n in noise.items()}):
        found = gradient(make_estimator("dreg", 4), model, guide, batch)
    with FixedNoise(**{site: list(n) for site, n in noise.items()}):
        each = [gradient(StickingTheLanding(), model, guide, batch) for _ in range(4)]
    weights = torch.cat([e["value"] for e in each]).softmax(0)
    assert weights.max() < 0.99
    for name in parameters(model, guide):
        power = 2 if name.startswith("guide") else 1
        expected = sum(w**power * e[name] for w, e in zip(weights, each, strict=True))
        torch.testing.assert_close(found[name], expected, atol=1e-9, rtol=1e-9)


@both_models
@pytest.mark.parametrize(
    ("name", "num_particles"), [("stl", 1), ("stl", 3), ("dreg", 1), ("dreg", 4)]
)
@pytest.mark.parametrize("vectorised", [False, True])
def test_at_the_exact_posterior_the_guides_gradient_is_zero_on_every_draw(
    make, name, num_particles, vectorised
):
    _, model, guide, batch = problem(make, by=0.0)
    estimator = make_estimator(name, num_particles)
    estimator.vectorize_particles = vectorised and num_particles > 1
    ordinary = gradient(make_estimator("trace"), model, guide, batch)
    for _ in range(2):
        found = gradient(estimator, model, guide, batch)
        for key, value in found.items():
            if key.startswith("guide"):
                assert ordinary[key].abs().max() > 0.1
                assert value.abs().max() < 1e-12 * ordinary[key].abs().max() * len(batch)
            else:
                assert value.abs().max() > 0.1


def test_the_guides_signal_to_noise_grows_with_particles_for_dreg_and_falls_for_group_iwae():
    """As the root of their number, either way, where the guide's scales are 5 % too wide."""
    _, model, guide, batch = problem(LinearGaussian.correlated, torch.tensor([1, 2, 3]), by=0.0)
    with torch.no_grad():
        guide.encoder.content_log_scale += 0.05
        guide.encoder.style_log_scale += 0.05
    calls, copies = 40, 40
    ratios = {"dreg": [], "group-iwae": []}
    for num_particles in (1, 4, 16):
        noise = {}
        for name in ratios:
            found = gradients(
                make_estimator(name, num_particles), model, guide, batch, calls, copies
            )
            values = torch.cat([g for key, g in found.items() if key.startswith("guide")], 1)
            noise[name] = values.var(0).sum()
            if name == "dreg":
                # The mean of both; what noise adds to its square is taken off.
                signal = values.mean(0).square().sum() - noise[name] / calls
        for name, ratio in ratios.items():
            ratio.append(float((signal / noise[name] / copies).sqrt()))
    print({name: [round(r, 4) for r in ratio] for name, ratio in ratios.items()})
    for (early, late), (before, after) in zip(*map(pairwise, ratios.values()), strict=True):
        assert late > 1.4 * early
        assert after < 0.8 * before


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("name", OURS)
def test_as_a_module_it_has_the_same_value_and_gradient(name, num_particles):
    _, model, guide, batch = problem(LinearGaussian.correlated)
    estimator = make_estimator(name, num_particles)
    torch.manual_seed(2)
    expected = gradient(estimator, model, guide, batch)
    for parameter in parameters(model, guide).values():
        parameter.grad = None
    torch.manual_seed(2)
    loss = estimator(model, guide)(batch)
    loss.backward()
    assert -loss.item() == pytest.approx(expected["value"].item(), rel=1e-12)
    for key, parameter in parameters(model, guide).items():
        torch.testing.assert_close(-parameter.grad.flatten(), expected[key])
