"""Bounds on the evidence from both sides, against the exact evidence and the exact upper bound."""

import math

import pytest
import torch
from pyro import poutine

from pyro_mlvae import InputError
from pyro_mlvae.comparison import sandwich, solved_problem
from pyro_mlvae.comparison.sandwich import bounds, log_weight, simulate
from pyro_mlvae.solved import (
    LinearGaussian,
    LinearGaussianGuide,
    LinearGaussianModel,
    ThreeLevelGaussian,
    ThreeLevelGaussianGuide,
    ThreeLevelGaussianModel,
    exact_elbo,
    exact_eubo,
)

SIZES = torch.tensor([1, 4, 2])


def off(make, by=0.05):
    solved = make(dim=6, content_dim=3, style_dim=2)
    guide = LinearGaussianGuide.exact(solved)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += by * torch.randn(parameter.shape, dtype=torch.float64)
    return solved, LinearGaussianModel(solved), guide


each = pytest.mark.parametrize("make", [LinearGaussian.orthogonal, LinearGaussian.correlated])


@each
def test_the_exact_upper_bound_is_the_mean_log_weight_of_posterior_draws(make):
    solved, model, guide = off(make)
    batch = solved.sample(SIZES, seed=1)
    posterior = LinearGaussianGuide.exact(solved)

    values = []
    for _ in range(225):
        drawn = poutine.trace(posterior).get_trace(batch)
        latents = {name: drawn.nodes[name]["value"].detach() for name in ("content", "style")}
        values.append(log_weight(model, guide, batch, latents).sum())
    values = torch.stack(values)
    exact = float(exact_eubo(solved, guide, batch).detach())
    assert abs(float(values.mean()) - exact) < 4.5 * float(values.std()) / 15
    evidence = float(solved.log_evidence(batch).sum())
    assert float(exact_elbo(model, guide, batch).detach()) + 0.05 < evidence < exact - 0.05


@each
def test_both_bounds_hold_the_evidence_of_drawn_data_and_close_in_with_more_particles(make):
    solved, model, guide = off(make)
    batch = solved.sample(torch.full((200,), 2), seed=1)
    rows = sandwich(model, guide, batch, repeats=4, log_evidence=solved.log_evidence)
    for row in rows:
        assert row["lower"] < row["log_evidence"] + 4 * row["lower_error"]
        assert row["upper"] > row["log_evidence"] - 4 * row["upper_error"]
    gaps = [row["difference"] for row in rows]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    # Draw by draw, against the evidence of the very data.
    drawn, latents = simulate(model, batch, seed=5)
    true = log_weight(model, guide, drawn, latents)
    evidence = solved.log_evidence(drawn)
    means = []
    for count in (1, 10, 100):
        lower, upper = bounds(model, guide, drawn, true, count, seed=1)
        below, above = evidence - lower, upper - evidence
        for gap in (below, above):
            assert gap.mean() > -4 * gap.std() / math.sqrt(len(gap))
        means.append((float(below.mean()), float(above.mean())))
    assert all(last < 0.5 * first for first, last in zip(means[0], means[-1], strict=True))


def test_one_particle_is_the_exact_elbo_and_the_exact_upper_bound_on_average():
    solved, model, guide = off(LinearGaussian.correlated)
    batch = solved.sample(torch.full((300,), 2), seed=1)
    differences = []
    for seed in range(8):
        drawn, latents = simulate(model, batch, seed=seed)
        lower, upper = bounds(
            model, guide, drawn, log_weight(model, guide, drawn, latents), 1, seed=seed
        )
        exact = exact_elbo(model, guide, drawn), exact_eubo(solved, guide, drawn)
        pairs = zip((lower, upper), exact, strict=True)
        differences.append([float(own.sum()) - float(known.detach()) for own, known in pairs])
    found = torch.tensor(differences)
    error = found.std(0) / math.sqrt(8)
    assert (found.mean(0).abs() < 4.5 * error).all()


def test_super_groups_have_bounds_as_well():
    solved = ThreeLevelGaussian.correlated(dim=6, content_dim=3, style_dim=2)
    model, guide = ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved)
    batch = solved.sample(SIZES, torch.tensor([0, 1, 0]), seed=1)
    for row in sandwich(model, guide, batch, repeats=2, log_evidence=solved.log_evidence):
        assert row["lower"] == pytest.approx(row["log_evidence"], abs=1e-8)
        assert row["upper"] == pytest.approx(row["log_evidence"], abs=1e-8)


def test_drawn_data_are_the_models_and_the_callers_state_stays():
    problem = solved_problem(groups=3, observations_per_group=4)
    state = torch.get_rng_state()
    first, latents = simulate(problem.model, problem.batch, seed=1)
    again, _ = simulate(problem.model, problem.batch, seed=1)
    other, _ = simulate(problem.model, problem.batch, seed=2)
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)
    assert not torch.equal(first.x, problem.batch.x)
    assert sorted(latents) == ["content", "style"]
    assert torch.equal(torch.get_rng_state(), state)
    mean = problem.solved.mean(latents["content"][first.group], latents["style"])
    assert float((first.x - mean).std()) == pytest.approx(0.5, rel=0.2)


def test_what_cannot_be_drawn_or_repeated_is_said():
    problem = solved_problem(groups=2, observations_per_group=2)
    pair = (problem.model, problem.guide, problem.batch)
    with pytest.raises(InputError, match="repeats must be a whole number of at least 2, got 1"):
        sandwich(*pair, repeats=1)
    with pytest.raises(InputError, match="particles must be a positive whole number, got 0"):
        sandwich(*pair, [0])
    with pytest.raises(InputError, match="a model that observes x at one site"):
        simulate(problem.guide, problem.batch)
