"""Minibatches of groups: with fixed noise, the objective's mean over them is the full objective.

Fixed noise turns "unbiased" into an equality: no average over draws stands between the two sides.
"""

from itertools import combinations

import pyro
import pytest
import torch
from exactly import FixedNoise, KeepGradients
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
)
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide
from pyro_mlvae.training import Objective

SIZES = torch.tensor([1, 5, 2, 9, 1, 3, 12, 4])
ESTIMATORS = [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO]
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)


class Problem:
    """Eight ragged groups, a model and a guide, and noise of groups and observations."""

    def __init__(self, guide_name):
        solved = LinearGaussian.correlated(dim=5, content_dim=2, style_dim=2)
        self.full = solved.sample(SIZES, seed=1)
        self.content_noise = torch.randn(8, 2).double()
        self.style_noise = torch.randn(len(self.full), 2).double()
        self.model = MLVAE(
            MLPDecoder((5,), 2, 2, hidden=(7,)), NormalLikelihood(0.5), 2, 2
        ).double()
        if guide_name == "style sees content":
            self.guide = LinearGaussianGuide.exact(solved)
        else:
            self.guide = ProductOfNormals(MLPEncoder((5,), 2, 2, hidden=(7,))).double()

    def step(self, estimator, groups, observations=None):
        """Loss and gradient on the batch of ``groups`` in that order, scaled as in ``fit``."""
        groups = torch.as_tensor(groups)
        if observations is None:
            observations = torch.isin(self.full.group, groups).nonzero().flatten()
        place = torch.full((8,), -1).index_copy(0, groups, torch.arange(len(groups)))
        batch = GroupedBatch(
            self.full.x[observations], place[self.full.group[observations]], len(groups)
        )
        noise = FixedNoise(content=self.content_noise[groups], style=self.style_noise[observations])
        elbo = estimator(max_plate_nesting=1)
        optimizer = KeepGradients()
        svi = SVI(self.model, noise(self.guide), optimizer, loss=Objective(elbo))
        parameters = [*self.model.parameters(), *self.guide.parameters()]
        for parameter in parameters:
            parameter.grad = None
        with pyro.get_param_store().scope():
            loss = svi.step(batch)
        return torch.cat(
            [
                torch.tensor([loss], dtype=torch.float64),
                *(optimizer.kept[p].flatten() for p in parameters),
            ]
        )

    def loss(self, *args):
        return self.step(*args)[0]


@pytest.fixture(params=["style alone", "style sees content"])
def problem(request):
    return Problem(request.param)


@each_estimator
def test_the_mean_over_all_minibatches_is_the_full_objective_and_its_gradient(problem, estimator):
    minibatches = [problem.step(estimator, groups) for groups in combinations(range(8), 2)]
    mean = torch.stack(minibatches).mean(0)
    torch.testing.assert_close(mean, problem.step(estimator, range(8)), atol=1e-8, rtol=0)


@each_estimator
def test_the_objective_is_the_mean_of_the_elbo_of_each_group(problem, estimator):
    single = torch.stack([problem.loss(estimator, [g]) for g in range(8)])
    torch.testing.assert_close(problem.loss(estimator, range(8)), single.mean(), atol=1e-8, rtol=0)
    # Were the groups alike, a mean over them could not be told from one of them.
    assert single.std() > 1.0


@each_estimator
def test_neither_the_order_of_groups_nor_that_of_members_matters(problem, estimator):
    groups, observations = torch.randperm(8), torch.randperm(len(problem.full))
    torch.testing.assert_close(
        problem.loss(estimator, groups, observations),
        problem.loss(estimator, range(8)),
        atol=1e-10,
        rtol=0,
    )


def test_moving_one_observation_to_another_group_does_matter(problem):
    """The control of the test above: the ELBO is not blind to the grouping."""
    before = problem.loss(Trace_ELBO, range(8))
    problem.full.group[-1] = 0
    assert (problem.loss(Trace_ELBO, range(8)) - before).abs() > 1e-3


@pytest.mark.parametrize("n", [2, 4])
def test_a_subsampled_group_is_a_smaller_group_and_not_a_reweighted_one(n):
    """As in the paper: n of the observations give exactly what a group of those n gives."""
    problem = Problem("style alone")
    members = (problem.full.group == 6).nonzero().flatten()[:n]
    subsampled = problem.loss(Trace_ELBO, [6], members)
    problem.full = GroupedBatch.trusted(problem.full.x[members], torch.full((n,), 6), 8)
    problem.style_noise = problem.style_noise[members]
    torch.testing.assert_close(problem.loss(Trace_ELBO, [6]), subsampled, atol=1e-12, rtol=0)
