"""The Normal by its log variance: PyTorch's density, and its gradients of any order."""

import pyro.distributions as dist
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from pyro_mlvae.ops import LogVarianceNormal


def inputs(*shapes):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


SAME = ((3, 4), (3, 4), (3, 4))
# Particles, observations of no particle, one variance for all.
BROADCAST = ((4,), (2, 3, 4), ())


@pytest.mark.parametrize("shapes", [SAME, BROADCAST])
def test_its_density_is_that_of_the_normal(shapes):
    x, loc, log_variance = inputs(*shapes)
    torch.testing.assert_close(
        LogVarianceNormal(loc, log_variance).log_prob(x),
        dist.Normal(loc, (0.5 * log_variance).exp()).log_prob(x),
        atol=1e-13,
        rtol=0,
    )


@pytest.mark.parametrize("shapes", [SAME, BROADCAST])
def test_its_gradients_of_first_and_second_order_are_right(shapes):
    def density(x, loc, log_variance):
        return LogVarianceNormal(loc, log_variance).log_prob(x)

    assert gradcheck(density, inputs(*shapes))
    assert gradgradcheck(density, inputs(*shapes))


@pytest.mark.parametrize("shapes", [SAME, BROADCAST])
@pytest.mark.parametrize("dims", [1, 2])
def test_the_density_of_events_is_the_sum_over_them_with_its_gradients(shapes, dims):
    def density(x, loc, log_variance):
        return LogVarianceNormal(loc, log_variance).to_event(dims).log_prob(x)

    x, loc, log_variance = inputs(*shapes)
    plain = dist.Normal(loc, (0.5 * log_variance).exp()).to_event(dims)
    torch.testing.assert_close(density(x, loc, log_variance), plain.log_prob(x), atol=1e-12, rtol=0)
    assert gradcheck(density, inputs(*shapes))
    assert gradgradcheck(density, inputs(*shapes))


def test_events_of_it_are_an_independent_like_any_other():
    _, loc, log_variance = inputs(*SAME)
    ours = LogVarianceNormal(loc, log_variance).to_event(1)
    plain = dist.Normal(loc, (0.5 * log_variance).exp()).to_event(1)
    assert isinstance(ours, dist.Independent)
    for wide in (ours.expand([2, 3]), ours.expand(torch.Size([2, 3])), ours.expand_by([2])):
        assert wide.shape() == (2, 3, 4)
        torch.testing.assert_close(wide.log_prob(loc), plain.expand([2, 3]).log_prob(loc))
    torch.testing.assert_close(ours.entropy(), plain.entropy())
    torch.testing.assert_close(
        torch.distributions.kl_divergence(ours, plain), torch.zeros(3).double()
    )
    assert ours.to_event(1).event_shape == (3, 4)
    assert ours.to_event(-1).batch_shape == (3, 4)
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims"):
        LogVarianceNormal(loc, log_variance).to_event(3)


# PyTorch has some of its forward derivatives from scripts, of which it warns itself.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_the_density_takes_transforms_of_functions():
    x, loc, log_variance = (t.detach() for t in inputs(*SAME))

    def density(x, loc, log_variance):
        return LogVarianceNormal(loc, log_variance).to_event(1).log_prob(x).sum()

    expected = torch.autograd.functional.jacobian(density, (x, loc, log_variance))
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        torch.testing.assert_close(jacobian(density, (0, 1, 2))(x, loc, log_variance), expected)


@pytest.mark.parametrize("dims", [0, 1])
def test_what_is_repeated_is_validated_as_before(dims):
    for validates in (False, True):
        normal = LogVarianceNormal(torch.zeros(3), torch.zeros(3), validate_args=validates)
        normal = normal.to_event(dims) if dims else normal
        wide = normal.expand([2] if dims else [2, 3])
        value = torch.full((2, 3), torch.nan)
        if validates:
            with pytest.raises(ValueError, match="within the support"):
                wide.log_prob(value)
        else:
            assert wide.log_prob(value).isnan().all()


@pytest.mark.parametrize("moves", ["x", "loc", "log_variance"])
def test_what_needs_no_gradient_is_given_none(moves):
    tensors = dict(zip(("x", "loc", "log_variance"), inputs(*SAME), strict=True))
    for name, tensor in tensors.items():
        tensor.requires_grad_(name == moves)
    LogVarianceNormal(tensors["loc"], tensors["log_variance"]).log_prob(
        tensors["x"]
    ).sum().backward()
    assert [name for name, tensor in tensors.items() if tensor.grad is not None] == [moves]


def test_it_is_a_normal_in_all_else():
    _, loc, log_variance = inputs(*SAME)
    ours, plain = LogVarianceNormal(loc, log_variance), dist.Normal(loc, (0.5 * log_variance).exp())
    for value in ("mean", "stddev", "variance"):
        torch.testing.assert_close(getattr(ours, value), getattr(plain, value))
    torch.testing.assert_close(ours.entropy(), plain.entropy())
    torch.testing.assert_close(ours.icdf(torch.tensor(0.9)), plain.icdf(torch.tensor(0.9)))
    torch.testing.assert_close(
        torch.distributions.kl_divergence(ours, plain), torch.zeros_like(loc)
    )
    torch.manual_seed(1)
    drawn = ours.expand((5, 3, 4)).rsample()
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, plain.expand((5, 3, 4)).rsample())
    assert drawn.requires_grad


def test_validation_says_what_is_outside():
    with pytest.raises(ValueError, match="within the support"):
        LogVarianceNormal(torch.zeros(2), torch.zeros(2), validate_args=True).log_prob(
            torch.tensor([0.0, torch.nan])
        )
