"""Three levels against brute force: model, guide, exact evidence, how it goes up and down."""

import pyro
import pytest
import torch
from fitting import Steps
from normals import as_normal, posterior_of
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch.distributions import MultivariateNormal

from pyro_mlvae import (
    GroupedBatch,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    StyleGivenContent,
    check,
    fit,
)
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.models import ThreeLevelMLVAE
from pyro_mlvae.solved import ThreeLevelGaussian, ThreeLevelGaussianGuide, ThreeLevelGaussianModel
from pyro_mlvae.training import elbo_terms

LOADINGS = {
    "orthogonal": ThreeLevelGaussian.orthogonal,
    "correlated": ThreeLevelGaussian.correlated,
}
SIZES, PARENT = torch.tensor([1, 4, 2, 7, 1, 3]), torch.tensor([0, 2, 0, 1, 2, 0])
both_models = pytest.mark.parametrize("make", LOADINGS.values(), ids=LOADINGS)


def problem(make):
    solved = make(dim=6, content_dim=3, style_dim=2, noise_scale=0.7, seed=3)
    return solved, solved.sample(SIZES, PARENT, seed=1)


def joint_covariance(solved, group):
    """Of (A, every C, all the x) of one super-group, whose members' groups are ``group``."""
    two = solved.two_level
    within, groups, n = solved.within_scale.square().diag(), int(group.max()) + 1, len(group)
    between = torch.eye(3).double() - within
    # Every latent and x is linear in independent unit Normals: A's, each C's, and each x's own.
    rows = [torch.cat([between.sqrt(), torch.zeros(3, 3 * groups).double()], 1)]
    for g in range(groups):
        row = torch.zeros(3, 3 * (groups + 1)).double()
        row[:, :3], row[:, 3 * (g + 1) : 3 * (g + 2)] = between.sqrt(), within.sqrt()
        rows.append(row)
    rows += [two.content_loading @ rows[1 + g] for g in group.tolist()]
    linear = torch.cat(rows)
    covariance = linear @ linear.mT
    own = two.style_loading @ two.style_loading.mT + two.noise_scale**2 * torch.eye(6).double()
    start = 3 * (groups + 1)
    covariance[start:, start:] += torch.kron(torch.eye(n).double(), own)
    return covariance, start


def super_groups(batch):
    """For each super-group: its groups, and the x and the group, from 0, of its observations."""
    for p in range(batch.num_parents):
        groups = (batch.parent == p).nonzero().flatten()
        member = torch.isin(batch.group, groups)
        yield groups, batch.x[member], torch.searchsorted(groups, batch.group[member])


@both_models
def test_log_evidence_is_the_density_of_each_stacked_super_group(make):
    solved, batch = problem(make)
    for log_evidence, (_, x, group) in zip(
        solved.log_evidence(batch), super_groups(batch), strict=True
    ):
        covariance, start = joint_covariance(solved, group)
        stacked = MultivariateNormal(
            solved.two_level.offset.repeat(len(x)), covariance[start:, start:]
        )
        torch.testing.assert_close(log_evidence, stacked.log_prob(x.flatten()), atol=1e-8, rtol=0)


@both_models
def test_evidence_goes_up_to_super_groups_and_down_to_groups_as_bayes_rule_has_it(make):
    solved, batch = problem(make)
    guide = ThreeLevelGaussianGuide.exact(solved)
    above = as_normal(guide.super_content_posterior(guide.encode(batch.x), batch.groups))
    content = posterior_of(guide, batch)
    for p, (groups, x, group) in enumerate(super_groups(batch)):
        covariance, start = joint_covariance(solved, group)
        gain = torch.linalg.solve(covariance[start:, start:], covariance[start:, :start]).mT
        mean = gain @ (x - solved.two_level.offset).flatten()
        variance = (covariance[:start, :start] - gain @ covariance[start:, :start]).diagonal()
        locs = torch.cat([above.loc[p], content.loc[groups].flatten()])
        variances = torch.cat([above.variance[p], content.variance[groups].flatten()])
        torch.testing.assert_close(locs, mean, atol=1e-10, rtol=0)
        torch.testing.assert_close(variances, variance, atol=1e-10, rtol=0)


@both_models
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceGraph_ELBO])
def test_with_the_exact_guide_every_draw_is_the_evidence(make, estimator, particles):
    solved, batch = problem(make)
    pair = ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved)
    evidence = float(solved.log_evidence(batch).sum())
    estimate = estimator(particles, max_plate_nesting=1, vectorize_particles=particles > 1)
    for _ in range(10):
        assert -estimate.loss(*pair, batch) == pytest.approx(evidence, abs=1e-8)


@both_models
def test_closed_form_divergences_give_the_evidence_on_average(make):
    solved, batch = problem(make)
    pair = ThreeLevelGaussianModel(solved), ThreeLevelGaussianGuide.exact(solved)
    # 400 draws at once: a loss is minus their mean; its standard error comes from 20 such means.
    estimate = TraceMeanField_ELBO(20, max_plate_nesting=1, vectorize_particles=True)
    values = torch.tensor([-estimate.loss(*pair, batch) for _ in range(20)])
    error = (values.mean() - float(solved.log_evidence(batch).sum())).abs()
    assert error < 4 * values.std() / 20**0.5


def test_with_hardly_anything_shared_it_is_the_model_of_two_levels():
    solved, batch = problem(LOADINGS["orthogonal"])
    apart = ThreeLevelGaussian(solved.two_level, torch.full((3,), 1.0 - 1e-12, dtype=torch.float64))
    two_level = solved.two_level.log_evidence(batch).sum()
    torch.testing.assert_close(apart.log_evidence(batch).sum(), two_level, atol=1e-8, rtol=0)
    assert (solved.log_evidence(batch).sum() - two_level).abs() > 0.1


def test_a_single_group_of_a_super_group_has_the_content_that_its_observations_give_alone():
    solved, _ = problem(LOADINGS["orthogonal"])
    batch = solved.sample(torch.tensor([3, 5]), torch.tensor([0, 1]))
    guide = ThreeLevelGaussianGuide.exact(solved)
    alone = GroupedBatch(batch.x, batch.group, batch.num_groups)
    with_parent, without = posterior_of(guide, batch), posterior_of(guide, alone)
    torch.testing.assert_close(with_parent.loc, without.loc, atol=1e-10, rtol=0)
    torch.testing.assert_close(with_parent.scale, without.scale, atol=1e-10, rtol=0)


def test_samples_have_the_covariance_of_the_model():
    solved, _ = problem(LOADINGS["correlated"])
    parents = 20_000
    sizes, parent = torch.tensor([2, 1]).repeat(parents), torch.arange(parents).repeat_interleave(2)
    batch = solved.sample(sizes, parent, seed=5)
    covariance, start = joint_covariance(solved, torch.tensor([0, 0, 1]))
    expected = covariance[start:, start:]
    centred = batch.x.reshape(parents, -1) - solved.two_level.offset.repeat(3)
    variance = expected.diagonal()
    standard_error = ((variance.outer(variance) + expected.square()) / parents).sqrt()
    assert ((centred.mT @ centred / parents - expected).abs() < 5 * standard_error).all()


def small_pair(style_given_content=False):
    torch.manual_seed(1)
    model = ThreeLevelMLVAE(MLPDecoder((6,), 3, 2, hidden=(8,)), NormalLikelihood(), 3, 2)
    style = StyleGivenContent(3, 2, hidden=(8,)) if style_given_content else None
    guide = ThreeLevelGuide(MLPEncoder((6,), 3, 2, hidden=(8,)), style_given_content=style)
    return model, guide


@pytest.mark.parametrize("style_given_content", [False, True])
def test_the_pair_is_sound_and_learns_what_super_groups_share(style_given_content):
    _, batch = problem(LOADINGS["orthogonal"])
    model, guide = small_pair(style_given_content)
    check(model, guide, batch.to(dtype=torch.float32))

    before = [p.detach().clone() for p in [*model.parameters(), *guide.parameters()]]
    history = fit(model, guide, Steps(batch), epochs=2)
    after = [*model.parameters(), *guide.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert sorted(history.epochs[-1].terms.kl) == ["content", "style", "super_content"]
    terms = elbo_terms(model, guide, batch.to(dtype=torch.float32))
    assert sorted(terms.kl) == ["content", "style", "super_content"]


def test_sites_stand_in_the_plates_of_their_levels():
    _, batch = problem(LOADINGS["orthogonal"])
    model, guide = small_pair()
    batch = batch.to(dtype=torch.float32)
    guide_trace = poutine.trace(guide).get_trace(batch)
    model_trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(batch)
    for site, plate, size in (
        ("super_content", "super-groups", 3),
        ("content", "groups", 6),
        ("style", "observations", 18),
    ):
        for trace in (guide_trace, model_trace):
            node = trace.nodes[site]
            assert [(f.name, f.dim, f.size) for f in node["cond_indep_stack"]] == [
                (plate, -1, size)
            ]
            assert node["fn"].batch_shape == (size,)


def test_content_of_a_single_group_is_standard_normal_whatever_tau_is():
    model, _ = small_pair()
    with torch.no_grad():
        model.within_logit.copy_(torch.tensor([-3.0, 0.0, 5.0]))
    variance = model.super_content_prior().variance + model.within_scale.square()
    torch.testing.assert_close(variance, torch.ones(3))
    torch.testing.assert_close(
        model.content_prior(Groups(torch.arange(1), 1)).variance, torch.ones(3)
    )


def test_groups_without_super_groups_are_refused_in_one_sentence():
    model, guide = small_pair()
    batch = GroupedBatch(torch.zeros(3, 6), torch.tensor([0, 1, 1]), 2)
    for program in (model, guide):
        with pytest.raises(InputError, match="needs the super-group of each group"):
            program(batch)


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.5, float("nan")])
def test_a_scale_within_super_groups_that_is_none_is_refused(tau):
    solved, _ = problem(LOADINGS["orthogonal"])
    with pytest.raises(InputError, match="within_scale must lie between 0 and 1"):
        ThreeLevelGaussian(solved.two_level, torch.full((3,), tau).double())


def test_fit_takes_a_random_guide_to_the_exact_posterior_of_three_levels():
    solved = ThreeLevelGaussian.orthogonal(dim=8, content_dim=3, style_dim=2, noise_scale=1.0)
    parent = torch.arange(100) % 20
    batch = solved.sample(torch.arange(100) % 7 + 1, parent, seed=1)
    guide = ThreeLevelGaussianGuide(8, 3, 2)

    optimizer = pyro.optim.ClippedAdam({"lr": 0.2, "lrd": 0.001 ** (1 / 300), "clip_norm": 1e9})
    model = ThreeLevelGaussianModel(solved)
    fit(model, guide, Steps(batch), epochs=300, optimizer=optimizer, dtype=torch.float64)
    estimate = Trace_ELBO(50, max_plate_nesting=1, vectorize_particles=True)
    gap = float(solved.log_evidence(batch).sum()) + estimate.loss(model, guide, batch)
    print(
        f"gap {gap / len(batch):.5f} nats per observation, "
        f"tau {guide.within_logit.sigmoid().sqrt()}"
    )
    assert -0.001 < gap / len(batch) < 0.02
    # The truth has not moved.
    assert torch.equal(model.within_scale, ThreeLevelGaussianModel(solved).within_scale)
