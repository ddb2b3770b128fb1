"""ELBO estimators by their values: against closed forms, against Pyro's, and over minibatches."""

from itertools import combinations

import pytest
import torch
from estimating import (
    OURS,
    WEIGHTED,
    FixedNoise,
    both_models,
    draws,
    exact_elbo,
    gradient,
    problem,
    standard_error,
)
from normals import posterior_of
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO

from pyro_mlvae import GroupedBatch
from pyro_mlvae.estimators import GroupIWAE, GroupRenyiELBO, make_estimator
from pyro_mlvae.solved import LinearGaussian


@both_models
def test_the_closed_form_that_all_is_compared_with_is_the_evidence_at_the_exact_guide(make):
    solved, model, guide, batch = problem(make, by=0.0)
    evidence = solved.log_evidence(batch).sum()
    torch.testing.assert_close(exact_elbo(model, guide, batch), evidence, atol=1e-8, rtol=0)


@both_models
@pytest.mark.parametrize(
    "name", [*WEIGHTED, "trace", "mean-field", "graph", "renyi", "stl", "local"]
)
def test_with_the_exact_guide_the_mean_is_the_evidence(make, name):
    """Some are not the evidence draw by draw: their divergence of content is in closed form."""
    solved, model, guide, batch = problem(make, by=0.0)
    values = draws(make_estimator(name, 2), model, guide, batch, calls=10, copies=50)
    evidence = solved.log_evidence(batch).sum()
    if name in ("mean-field", "local"):
        assert values.std() > 0.01
    else:
        assert values.std() < 1e-8
    assert (values.mean() - evidence).abs() < 4 * standard_error(values) + 1e-8


@both_models
@pytest.mark.parametrize("name", [*WEIGHTED, "renyi"])
def test_weighted_bounds_lie_between_the_elbo_and_the_evidence(make, name):
    solved, model, guide, batch = problem(make)
    # Pyro's has one weight for all the groups: copies of the batch would loosen it.
    size = {"calls": 200, "copies": 1} if name == "renyi" else {}
    values = draws(make_estimator(name, 3), model, guide, batch, **size)
    low, high = exact_elbo(model, guide, batch).item(), solved.log_evidence(batch).sum().item()
    error = 4 * standard_error(values)
    assert low + error < values.mean() < high - error


@both_models
@pytest.mark.parametrize("name", [*WEIGHTED, "stl"])
def test_with_one_particle_each_is_trace_elbo_draw_by_draw(make, name):
    _, model, guide, batch = problem(make)
    for seed in range(5):
        torch.manual_seed(seed)
        value = make_estimator(name).loss(model, guide, batch)
        torch.manual_seed(seed)
        assert value == pytest.approx(Trace_ELBO().loss(model, guide, batch), abs=1e-9)


@both_models
@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_on_one_group_it_is_pyros_renyi_bound_draw_by_draw(make, vectorised, alpha):
    _, model, guide, batch = problem(make, torch.tensor([4]))
    options = {"num_particles": 3, "vectorize_particles": vectorised, "max_plate_nesting": 1}
    found = []
    for estimator in GroupRenyiELBO(alpha, **options), RenyiELBO(alpha, **options):
        torch.manual_seed(3)
        found.append(gradient(estimator, model, guide, batch))
    torch.testing.assert_close(found[0], found[1], atol=1e-8, rtol=1e-8)


@both_models
def test_a_weight_for_each_group_is_far_tighter_than_one_for_all(make):
    """Of 64 groups, each content 1.5 times as wide as it should be: total nats, 100 particles."""
    solved, model, guide, batch = problem(make, torch.arange(64) % 20 + 1, by=0.0)
    with torch.no_grad():
        guide.encoder.content_log_scale += 0.4
    evidence = solved.log_evidence(batch).sum()
    options = {"num_particles": 100, "vectorize_particles": True, "max_plate_nesting": 1}
    gaps = {}
    for estimator in GroupIWAE(**options), RenyiELBO(0.0, **options):
        values = evidence - draws(estimator, model, guide, batch, calls=5, copies=1)
        gaps[type(estimator).__name__] = values.mean().item()
        print(f"{type(estimator).__name__} {values.mean():.2f} +- {standard_error(values):.2f}")
    assert -0.5 < gaps["GroupIWAE"] < 0.5
    assert gaps["RenyiELBO"] > 10.0


class Minibatches:
    """Eight ragged groups, and noise of groups and observations for three particles."""

    def __init__(self, make):
        self.solved, self.model, self.guide, self.full = problem(
            make, torch.tensor([1, 5, 2, 9, 1, 3, 12, 4])
        )
        self.noise = [torch.randn(3, n, d).double() for n, d in ((8, 3), (len(self.full), 2))]

    def batch(self, groups):
        members = torch.isin(self.full.group, torch.as_tensor(groups)).nonzero().flatten()
        group = torch.searchsorted(torch.as_tensor(groups), self.full.group[members])
        return members, GroupedBatch(self.full.x[members], group, len(groups))

    def pinned(self, estimator, groups):
        """Value and gradient with pinned draws, scaled as ``fit`` scales them."""
        members, batch = self.batch(groups)
        content, style = self.noise
        noise = {"content": [content[:, list(groups)]], "style": [style[:, members]]}
        with poutine.scale(scale=1.0 / len(groups)), FixedNoise(**noise):
            return torch.cat(list(gradient(estimator, self.model, self.guide, batch).values()))


@both_models
@pytest.mark.parametrize("name", [*WEIGHTED, "stl"])
def test_the_mean_over_all_minibatches_is_the_full_bound_and_its_gradient(make, name):
    problem, estimator = Minibatches(make), make_estimator(name, 3)
    minibatches = list(combinations(range(8), 2))
    assert len(minibatches) == 28
    mean = torch.stack([problem.pinned(estimator, groups) for groups in minibatches]).mean(0)
    torch.testing.assert_close(mean, problem.pinned(estimator, range(8)), atol=1e-8, rtol=1e-8)


@both_models
def test_over_minibatches_the_bound_lies_between_the_elbo_and_the_evidence(make):
    problem = Minibatches(make)
    evidence = problem.solved.log_evidence(problem.full).mean()
    elbo = exact_elbo(problem.model, problem.guide, problem.full) / 8
    values = []
    for groups in list(combinations(range(8), 3)) * 2:
        with poutine.scale(scale=1.0 / 3):
            _, batch = problem.batch(groups)
            values.append(
                -make_estimator("group-iwae", 5).loss(problem.model, problem.guide, batch)
            )
    assert elbo < sum(values) / len(values) < evidence


@both_models
@pytest.mark.parametrize("name", ["group-iwae", "group-renyi", "dreg", "stl"])
def test_particles_in_turn_and_vectorised_give_one_value_and_one_gradient(make, name):
    _, model, guide, batch = problem(make)
    noise = {
        "content": torch.randn(3, 3, 3).double(),
        "style": torch.randn(3, len(batch), 2).double(),
    }
    found = []
    for vectorised in (False, True):
        estimator = make_estimator(name, 3)
        estimator.vectorize_particles = vectorised
        pieces = {site: [n] if vectorised else list(n) for site, n in noise.items()}
        if not vectorised:
            estimator.max_plate_nesting = 1
        with FixedNoise(**pieces):
            found.append(gradient(estimator, model, guide, batch))
    torch.testing.assert_close(*found, atol=1e-9, rtol=1e-9)
    assert found[0]["guide style_given_content.weight"].abs().max() > 0.01


@pytest.mark.parametrize("num_particles", [1, 500])
def test_local_draws_content_afresh_for_every_observation_from_its_groups_posterior(num_particles):
    _, model, guide, batch = problem(LinearGaussian.correlated)
    seen = []

    def watched(alone):
        seen.append(poutine.trace(model).get_trace(alone).nodes["content"]["value"])

    make_estimator("local", num_particles).loss(watched, guide, batch)
    (content,) = seen
    assert len(content.unique()) == content.numel() == num_particles * len(batch) * 3
    if num_particles > 1:
        posterior = posterior_of(guide, batch)
        loc, scale = (
            v.detach().index_select(0, batch.group) for v in (posterior.loc, posterior.scale)
        )
        assert ((content.mean(0) - loc) / scale).abs().max() < 5 / num_particles**0.5
        torch.testing.assert_close(content.std(0), scale, rtol=0.15, atol=0)


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("name", OURS)
def test_a_scale_on_model_and_guide_multiplies_value_and_gradient_exactly(name, num_particles):
    _, model, guide, batch = problem(LinearGaussian.correlated)
    estimator = make_estimator(name, num_particles)
    plain, scaled = [], []
    for found, scale in (plain, 1.0), (scaled, 0.25):
        torch.manual_seed(7)
        with poutine.scale(scale=scale):
            found += gradient(estimator, model, guide, batch).values()
    torch.testing.assert_close([0.25 * v for v in plain], scaled, atol=1e-12, rtol=1e-12)
