"""Importance-weighted bounds where it is super-groups that are independent."""

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO

from pyro_mlvae import GroupedDataset, make_estimator
from pyro_mlvae.estimators import nested_bound
from pyro_mlvae.evaluation import elbo_metrics
from pyro_mlvae.solved import ThreeLevelGaussian, ThreeLevelGaussianGuide, ThreeLevelGaussianModel

SIZES, PARENT = torch.tensor([1, 4, 2, 7, 1, 3]), torch.tensor([0, 2, 0, 1, 2, 0])


def problem(wrong=0.0):
    """The solved model, a batch, and its exact guide with content scales off by e^wrong."""
    solved = ThreeLevelGaussian.correlated(
        dim=6, content_dim=3, style_dim=2, noise_scale=0.7, seed=3
    )
    guide = ThreeLevelGaussianGuide.exact(solved)
    with torch.no_grad():
        guide.encoder.content_log_scale += wrong
    return solved, ThreeLevelGaussianModel(solved), guide, solved.sample(SIZES, PARENT, seed=1)


@pytest.mark.parametrize("name", ["group-iwae", "group-renyi", "dreg"])
def test_with_the_exact_guide_the_bound_of_every_super_group_is_its_evidence(name):
    solved, model, guide, batch = problem()
    estimator = make_estimator(name, 4)
    log_weights, _ = estimator.log_weights(model, guide, batch)
    expected = solved.log_evidence(batch).expand(4, 3)
    torch.testing.assert_close(log_weights, expected, atol=1e-8, rtol=0)
    assert -estimator.loss(model, guide, batch) == pytest.approx(float(expected[0].sum()), abs=1e-8)


@pytest.mark.parametrize("name", ["dreg", "stl"])
def test_at_the_exact_posterior_the_gradient_of_the_path_is_zero(name):
    _, model, guide, batch = problem()
    make_estimator(name, 3).differentiable_loss(model, guide, batch).backward()
    assert max(p.grad.abs().max() for p in guide.parameters()) < 1e-10


def test_doubly_reparameterised_gradients_are_those_of_the_bound_on_average():
    """The means over 100 draws of each; the largest of 45 differences is below 4.5 errors."""
    _, model, guide, batch = problem(wrong=0.3)

    def gradients(name):
        estimator = make_estimator(name, 4)
        found = []
        for _ in range(100):
            guide.zero_grad()
            estimator.differentiable_loss(model, guide, batch).backward()
            found.append(torch.cat([p.grad.flatten() for p in guide.parameters()]))
        stacked = torch.stack(found)
        return stacked.mean(0), stacked.var(0) / len(found)

    (first, first_error), (second, second_error) = gradients("dreg"), gradients("group-iwae")
    z = (first - second) / (first_error + second_error).sqrt()
    assert z.abs().max() < 4.5


def test_the_nested_bound_lies_between_the_elbo_and_the_evidence_and_above_one_weight_for_all():
    solved, model, guide, batch = problem(wrong=0.5)
    evidence = float(solved.log_evidence(batch).sum())
    bounds = [nested_bound(model, guide, batch, 10, 5, seed=s).sum() for s in range(8)]
    nested = torch.stack(bounds)
    # As many draws, but one weight for all that a super-group has.
    single = torch.tensor(
        [-make_estimator("group-iwae", 500).loss(model, guide, batch) for _ in range(8)]
    )
    elbo = -Trace_ELBO(2000, max_plate_nesting=1, vectorize_particles=True).loss(
        model, guide, batch
    )
    assert elbo < single.mean() < nested.mean() < evidence + 3 * nested.std() / 8**0.5


@pytest.mark.parametrize("as_functions", [False, True])
def test_the_metrics_of_three_levels_keep_super_groups_whole(as_functions):
    """Whatever the classes are: it is the guide's plates that tell."""
    solved, model, guide, batch = problem()
    pair = (
        (poutine.mask(model, mask=True), poutine.mask(guide, mask=True))
        if as_functions
        else (model, guide)
    )
    names = [f"{parent}-{group}" for group, parent in enumerate(PARENT.tolist())]
    data = GroupedDataset.from_arrays(
        batch.x, [names[g] for g in batch.group.tolist()], parent={name: name[0] for name in names}
    )
    found = elbo_metrics(*pair, data, observations_per_group=100, content_draws=2, style_draws=2)
    expected = float(solved.log_evidence(batch).sum()) / len(batch)
    assert found["nested_iwae_per_observation"] == pytest.approx(expected, abs=1e-8)
    assert sorted(name for name in found if name.startswith("kl_")) == [
        "kl_content",
        "kl_style",
        "kl_super_content",
    ]
