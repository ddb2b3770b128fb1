"""The solved model against brute force: every closed form beside the big Gaussian it replaces."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from pyro_mlvae import InputError
from pyro_mlvae.ops import product_of_normals
from pyro_mlvae.solved import LinearGaussian

LOADINGS = {"orthogonal": LinearGaussian.orthogonal, "correlated": LinearGaussian.correlated}
SIZES = torch.tensor([1, 4, 2, 7])


@pytest.fixture(params=LOADINGS)
def solved(request):
    return LOADINGS[request.param](dim=6, content_dim=3, style_dim=2, noise_scale=0.7, seed=3)


def stacked_covariance(solved, size):
    """Of all the x of one group, stacked: content is shared, style and noise are not."""
    shared = solved.content_loading @ solved.content_loading.mT
    own = (
        solved.style_loading @ solved.style_loading.mT
        + solved.noise_scale**2 * torch.eye(6).double()
    )
    return torch.kron(torch.ones(size, size).double(), shared) + torch.kron(
        torch.eye(size).double(), own
    )


def conditional(own, cross, given, value):
    """Mean and covariance of one of two jointly Gaussian vectors of mean 0, given the other."""
    gain = torch.linalg.solve(given, cross.mT).mT
    return gain @ value, own - gain @ cross.mT


def test_log_evidence_is_the_density_of_each_stacked_group(solved):
    batch = solved.sample(SIZES, seed=1)
    for g, log_evidence in enumerate(solved.log_evidence(batch)):
        x = batch.x[batch.group == g]
        stacked = MultivariateNormal(
            solved.offset.repeat(len(x)), stacked_covariance(solved, len(x))
        )
        torch.testing.assert_close(log_evidence, stacked.log_prob(x.flatten()), atol=1e-8, rtol=0)


def test_log_evidence_needs_no_order_of_observations(solved):
    batch = solved.sample(SIZES, seed=1)
    order = torch.randperm(len(batch))
    shuffled = type(batch)(batch.x[order], batch.group[order], batch.num_groups)
    torch.testing.assert_close(
        solved.log_evidence(shuffled), solved.log_evidence(batch), atol=1e-10, rtol=0
    )


def test_content_experts_times_the_prior_are_the_posterior_of_content(solved):
    batch = solved.sample(SIZES, seed=2)
    weight, bias, scale = solved.content_expert()
    prior = torch.zeros(3).double(), torch.ones(3).double()
    experts = batch.x @ weight.mT + bias
    loc, scale = product_of_normals(
        experts, scale.expand_as(experts), batch.group, batch.num_groups, prior=prior
    )
    for g in range(batch.num_groups):
        x = batch.x[batch.group == g]
        mean, covariance = conditional(
            torch.eye(3).double(),
            solved.content_loading.mT.repeat(1, len(x)),
            stacked_covariance(solved, len(x)),
            (x - solved.offset).flatten(),
        )
        torch.testing.assert_close(loc[g], mean, atol=1e-10, rtol=0)
        # Off the diagonal too: the posterior of content has to be diagonal in both models.
        torch.testing.assert_close(scale[g].square().diag(), covariance, atol=1e-10, rtol=0)


def test_style_given_content_is_the_conditional_of_the_joint(solved):
    batch = solved.sample(torch.tensor([3]), seed=4)
    content = torch.randn(3).double()
    weight, bias, shift, scale = solved.style_given_content()
    # Jointly Gaussian: S with (x, C).
    content_loading, style_loading = solved.content_loading, solved.style_loading
    x_content = torch.cat([stacked_covariance(solved, 1), content_loading], 1)
    given = torch.cat([x_content, torch.cat([content_loading.mT, torch.eye(3).double()], 1)])
    cross = torch.cat([style_loading.mT, torch.zeros(2, 3).double()], 1)
    for x in batch.x:
        value = torch.cat([x - solved.offset, content])
        mean, covariance = conditional(torch.eye(2).double(), cross, given, value)
        torch.testing.assert_close(weight @ x + bias - shift @ content, mean, atol=1e-10, rtol=0)
        torch.testing.assert_close(scale.square().diag(), covariance, atol=1e-10, rtol=0)


def test_only_correlated_loadings_make_style_depend_on_content():
    _, _, shift, _ = LinearGaussian.orthogonal().style_given_content()
    torch.testing.assert_close(shift, torch.zeros_like(shift), atol=1e-12, rtol=0)
    _, _, shift, _ = LinearGaussian.correlated().style_given_content()
    assert (shift.diagonal() > 0.1).all()


def test_samples_have_the_covariance_of_the_model_within_and_across_members(solved):
    groups = 20_000
    batch = solved.sample(torch.full((groups,), 2), seed=5)
    expected = stacked_covariance(solved, 2)
    centred = batch.x.reshape(groups, -1) - solved.offset.repeat(2)
    empirical = centred.mT @ centred / groups
    variance = expected.diagonal()
    standard_error = ((variance.outer(variance) + expected.square()) / groups).sqrt()
    # 144 entries: beyond 5 standard errors once in ten thousand models.
    assert ((empirical - expected).abs() < 5 * standard_error).all()
    assert (centred.mean(0).abs() < 5 * (variance / groups).sqrt()).all()


def test_samples_come_in_groups_of_the_sizes_asked_for_and_are_fixed_by_the_seed(solved):
    first, again, other = (solved.sample(SIZES, seed=seed) for seed in (0, 0, 1))
    assert first.sizes.tolist() == SIZES.tolist()
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("make", LOADINGS.values(), ids=LOADINGS)
@pytest.mark.parametrize(("content_dim", "style_dim"), [(0, 2), (2, 0), (-1, 3), (3, 4)])
def test_dims_that_do_not_fit_are_refused(make, content_dim, style_dim):
    with pytest.raises(InputError, match=f"{content_dim} \\+ {style_dim} with dim 6"):
        make(dim=6, content_dim=content_dim, style_dim=style_dim)


@pytest.mark.parametrize("make", LOADINGS.values(), ids=LOADINGS)
def test_all_the_room_may_be_used(make):
    solved = make(dim=4, content_dim=2, style_dim=2)
    assert solved.log_evidence(solved.sample(torch.tensor([2]))).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_is_in_the_dtype_asked_for(dtype):
    solved = LinearGaussian.correlated(dtype=dtype)
    batch = solved.sample(SIZES)
    results = [
        batch.x, solved.log_evidence(batch), *solved.content_expert(), *solved.style_given_content()
    ]  # fmt: skip
    assert {result.dtype for result in results} == {dtype}
