"""The solved model whose posterior is no Normal: its evidence against closed forms and draws."""

import math

import pytest
import torch

from pyro_mlvae import InputError, make_estimator
from pyro_mlvae.comparison import mixture_problem
from pyro_mlvae.comparison.sandwich import simulate
from pyro_mlvae.estimators import nested_bound
from pyro_mlvae.solved import LinearGaussian, PolynomialMixture, PolynomialMixtureModel

SIZES = torch.tensor([1, 5, 2])


def test_of_one_normal_and_a_straight_line_the_evidence_is_the_linear_gaussians():
    linear = LinearGaussian.orthogonal(dim=5, content_dim=1, style_dim=2)
    solved = PolynomialMixture(
        torch.ones(1).double(), torch.zeros(1).double(), torch.ones(1).double(),
        linear.content_loading, linear.style_loading, linear.noise_scale,
    )  # fmt: skip
    batch = linear.sample(SIZES, seed=1)
    centred = type(batch)(batch.x - linear.offset, batch.group, batch.num_groups)
    torch.testing.assert_close(
        solved.log_evidence(centred), linear.log_evidence(batch), atol=1e-10, rtol=1e-10
    )


def test_the_evidence_is_the_mean_of_the_likelihood_over_draws_from_the_prior():
    solved = PolynomialMixture.bimodal()
    batch = solved.sample(torch.tensor([1, 2]), seed=1)
    content = solved.prior().sample((200_000,))
    mean = solved.mean(content, torch.zeros(2).double())
    covariance = solved.style_loading @ solved.style_loading.mT + 0.25 * torch.eye(8).double()
    of_x = torch.distributions.MultivariateNormal(mean, covariance)
    log_likelihoods = torch.stack([of_x.log_prob(x) for x in batch.x])
    weights = torch.stack([log_likelihoods[0], log_likelihoods[1:].sum(0)]).exp()
    estimate, error = weights.mean(1), weights.std(1) / math.sqrt(200_000)
    assert (((solved.log_evidence(batch).exp() - estimate) / error).abs() < 4.0).all()


def test_the_posterior_has_two_modes_and_the_model_draws_what_its_evidence_says():
    solved = PolynomialMixture.bimodal()
    batch = solved.sample(SIZES, seed=2)
    points, log_joint = solved.log_joint(batch)
    posterior = log_joint.softmax(-1)
    mass_left = posterior[:, points < 0].sum(-1)
    assert ((mass_left > 0.02) & (mass_left < 0.98)).any()
    # The mean log evidence of drawn data is the same, whoever draws them: the Pyro model or
    # `sample`.
    sizes = torch.full((400,), 3)
    first = solved.log_evidence(solved.sample(sizes, seed=3))
    model = PolynomialMixtureModel(solved)
    second = solved.log_evidence(simulate(model, solved.sample(sizes, seed=3), seed=4)[0])
    error = (first.var() / 400 + second.var() / 400).sqrt()
    assert abs(first.mean() - second.mean()) < 4.0 * error


def test_bounds_lie_below_the_evidence_and_many_draws_come_near():
    problem = mixture_problem(groups=6, observations_per_group=4)
    model, guide = problem.pair()
    evidence = problem.log_evidence(problem.batch)
    elbo = -make_estimator("trace", 200).loss(model, guide, problem.batch)
    tight = float(nested_bound(model, guide, problem.batch, 400, 50).sum())
    assert elbo < tight < evidence + 0.5
    assert evidence - tight < 0.2 * (evidence - elbo)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"weights": torch.tensor([0.5, 0.6])}, "sum to one"),
        ({"scales": torch.tensor([0.0, 1.0])}, "must be positive"),
        ({"locs": torch.zeros(3)}, "vectors of one length"),
        ({"noise_scale": 0.0}, "must be positive"),
    ],
)
def test_wrong_parameters_are_refused(changed, sentence):
    good = vars(PolynomialMixture.bimodal(dtype=torch.float32))
    with pytest.raises(InputError, match=sentence):
        PolynomialMixture(**good | changed)
