"""One importance weight a group: against the solved model, and against each group on its own."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from estimating import copies_of
from pyro import poutine
from pyro.infer import Trace_ELBO
from pyro.infer.enum import get_importance_trace

from pyro_mlvae import VAE, GroupedDataset, InputError, MLPEncoder, NormalLikelihood, VAEGuide
from pyro_mlvae.estimators import group_log_weights, nested_bound
from pyro_mlvae.evaluation import elbo_metrics
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
from pyro_mlvae.solved.models import LinearDecoder

SIZES = torch.tensor([1, 20, 3, 1, 7, 2, 13, 5])


@pytest.fixture(params=["orthogonal", "correlated"])
def solved(request):
    return getattr(LinearGaussian, request.param)(dim=8, content_dim=3, style_dim=2)


@pytest.fixture
def batch(solved):
    # Shuffled, so that nothing rests on the order of groups.
    drawn = solved.sample(SIZES, seed=1)
    order = torch.randperm(len(drawn))
    return type(drawn)(drawn.x[order], drawn.group[order], drawn.num_groups)


def weights(model, guide, batch):
    return group_log_weights(*get_importance_trace("flat", 1, model, guide, (batch,), {}), batch)


def imperfect(solved):
    """The exact guide, a little off: every density is still in closed form."""
    guide = LinearGaussianGuide.exact(solved)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, dtype=parameter.dtype))
    return guide


def test_with_the_exact_guide_every_group_weighs_its_evidence(solved, batch):
    found = weights(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch)
    torch.testing.assert_close(found, solved.log_evidence(batch), atol=1e-8, rtol=0)


def test_with_one_sample_the_bound_is_trace_elbo_draw_by_draw(solved, batch):
    model, guide = LinearGaussianModel(solved), imperfect(solved)
    for seed in range(5):
        bound = nested_bound(model, guide, batch, 1, 1, seed=seed)
        torch.manual_seed(seed)
        elbo = -Trace_ELBO(max_plate_nesting=1).loss(model, guide, batch)
        assert float(bound.sum()) == pytest.approx(elbo, abs=1e-9)


def test_more_samples_tighten_the_bound_of_every_group_towards_its_evidence(solved, batch):
    model, guide = LinearGaussianModel(solved), imperfect(solved)
    evidence = solved.log_evidence(batch)
    means, errors = [], []
    copies = copies_of(batch, 200)  # as many draws of each, side by side
    for samples in (1, 10, 60):
        bounds = nested_bound(model, guide, copies, samples, 1, seed=0).reshape(
            200, batch.num_groups
        )
        means.append(bounds.mean(0))
        errors.append(bounds.std(0) / 200**0.5)
    assert (means[0] < means[1] + 4 * errors[0]).all()
    assert (means[1] < means[2] + 4 * errors[1]).all()
    assert (means[2] <= evidence + 4 * errors[2]).all()
    gaps = [float((evidence - mean).sum()) for mean in means]
    assert gaps[0] > 1.5 * gaps[1] > 2.25 * gaps[2], gaps


def test_masks_count_and_scales_do_not(solved, batch):
    model, guide = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    torch.manual_seed(3)
    plain = weights(model, guide, batch)
    torch.manual_seed(3)
    scaled = weights(poutine.scale(model, 0.1), poutine.scale(guide, 0.1), batch)
    torch.testing.assert_close(scaled, plain)
    nothing = weights(poutine.mask(model, mask=False), poutine.mask(guide, mask=False), batch)
    assert (nothing == 0).all()


def test_vectorised_particles_come_first(solved, batch):
    model, guide = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)

    def vectorised(program):
        return lambda batch: pyro.plate("num_particles_vectorized", 4, dim=-2)(program)(batch)

    traces = get_importance_trace("flat", 2, vectorised(model), vectorised(guide), (batch,), {})
    found = group_log_weights(*traces, batch)
    torch.testing.assert_close(found, solved.log_evidence(batch).expand(4, -1), atol=1e-8, rtol=0)


def test_a_site_outside_both_plates_is_refused_by_name(batch):
    def model(batch):
        pyro.sample("everywhere", dist.Normal(0.0, 1.0))

    with pytest.raises(InputError, match="'everywhere' is in neither"):
        weights(model, model, batch)


def test_a_vae_is_weighted_observation_by_observation_which_is_tighter():
    solved = LinearGaussian.orthogonal(dim=8, content_dim=3, style_dim=2)
    batch = solved.sample(SIZES)
    model = VAE(LinearDecoder(solved), NormalLikelihood(solved.noise_scale), 3, 2).double()
    guide = VAEGuide(MLPEncoder((8,), 3, 2, (4,))).double()
    data = GroupedDataset.from_arrays(batch.x, batch.group)
    found = elbo_metrics(model, guide, data, content_draws=500, style_draws=1)
    singly = nested_bound(model, guide, batch.singletons(), 500, 1).mean()
    each = torch.stack(
        [nested_bound(model, guide, batch.singletons(), 1, 1, seed=s) for s in range(20)]
    )
    zero = torch.zeros(20, batch.num_groups, dtype=torch.float64)
    products = zero.index_add(1, batch.group, each)
    jointly = (products.logsumexp(0) - math.log(20)).sum() / len(batch)
    assert found["nested_iwae_per_observation"] == pytest.approx(float(singly), rel=0.05)
    assert found["nested_iwae_per_observation"] > float(jointly) + 1.0
    assert found["nested_iwae_per_observation"] > found["per_observation"]
    with pytest.raises(InputError, match=r"must be of the batch's size 8, got 52: .*singletons"):
        nested_bound(model, guide, batch, 1, 1)
