"""Style given content: the shapes, the gradients, and what it must not see."""

import pytest
import torch
from normals import codes_of, said_of
from pyro.infer import Trace_ELBO

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
)


@pytest.fixture
def guide():
    network = StyleGivenContent(content_dim=3, style_dim=2, hidden=(6,))
    return ProductOfNormals(MLPEncoder((4,), 3, 2, hidden=(8,)), style_given_content=network)


def test_an_untrained_correction_of_zero_is_no_correction(guide):
    for parameter in guide.style_given_content.parameters():
        torch.nn.init.zeros_(parameter)
    x, content = torch.randn(5, 4), torch.randn(5, 3)
    _, alone = said_of(guide, x)
    given = guide.style_posterior(guide.encode(x), content)
    torch.testing.assert_close(given.mean, alone.loc)
    torch.testing.assert_close(given.stddev, alone.scale)


def test_style_depends_on_the_content_of_its_own_observation_only(guide):
    x = torch.randn(5, 4)
    content = torch.randn(5, 3, requires_grad=True)
    style = guide.style_posterior(guide.encode(x), content)
    (gradient,) = torch.autograd.grad(style.mean[2].sum(), content)
    assert gradient[2].abs().sum() > 0
    assert gradient[[0, 1, 3, 4]].abs().sum() == 0


@pytest.mark.parametrize("particles", [1, 7])
def test_gradients_reach_it_through_every_estimator_layout(guide, particles):
    model = MLVAE(MLPDecoder((4,), 3, 2, hidden=(8,)), NormalLikelihood(), 3, 2)
    batch = GroupedBatch(torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 1]), 2)
    elbo = Trace_ELBO(
        num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1
    )
    elbo.differentiable_loss(model, guide, batch).backward()
    for name, parameter in guide.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_a_code_sees_the_content_of_its_own_observation_and_not_of_its_group(guide):
    x = torch.randn(5, 4)
    group = torch.tensor([0, 0, 0, 1, 1])
    together = codes_of(guide, GroupedBatch(x, group, 2))[1].loc[2]
    alone = codes_of(guide, GroupedBatch(x[2:3], torch.tensor([0]), 1))[1].loc[0]
    torch.testing.assert_close(together, alone)
