"""The plain VAE: the ML-VAE of groups of one, and nothing else."""

import pyro
import pytest
import torch
from fitting import make_pair, small_data
from normals import posterior_of, said_of
from pyro.infer import Trace_ELBO
from torch.distributions import kl_divergence

from pyro_mlvae import VAE, GroupedBatch, GroupSampler, InputError, VAEGuide, fit
from pyro_mlvae.runs.config import RunConfig


def make_vae():
    model, guide = make_pair()
    return VAE(model.decoder, model.likelihood, 2, 2), VAEGuide(guide.encoder), model, guide


@pytest.fixture
def batch():
    return small_data().batch()


def test_its_elbo_is_that_of_an_ordinary_vae_written_by_hand(batch):
    vae, vae_guide, *_ = make_vae()
    torch.manual_seed(5)
    loss = Trace_ELBO(max_plate_nesting=1).loss(vae, vae_guide, batch)
    torch.manual_seed(5)
    content, style = said_of(vae_guide, batch.x)
    # The same draws, in the same order: the first part of every latent, then the second.
    z = [torch.normal(torch.zeros_like(n.loc), torch.ones_like(n.loc)) for n in (content, style)]
    c, s = (n.loc + n.scale * e for n, e in zip((content, style), z, strict=True))
    prior = torch.distributions.Normal(0.0, 1.0)
    by_hand = vae.observation(c, s).log_prob(batch.x).sum().detach()
    for normal, value in ((content, c), (style, s)):
        by_hand = by_hand + (prior.log_prob(value) - normal.log_prob(value)).sum().detach()
    assert -loss == pytest.approx(by_hand.item(), rel=1e-6)


def test_groups_change_nothing(batch):
    vae, guide, *_ = make_vae()
    values = []
    for group in (batch.group, torch.zeros(24, dtype=torch.int64)):
        other = GroupedBatch(batch.x, group, int(group.max()) + 1)
        torch.manual_seed(0)
        values.append(Trace_ELBO(max_plate_nesting=1).loss(vae, guide, other))
    assert values[0] == values[1]


def test_it_is_the_mlvae_of_singletons(batch):
    vae, vae_guide, model, guide = make_vae()
    torch.manual_seed(0)
    one = Trace_ELBO(max_plate_nesting=1).loss(vae, vae_guide, batch)
    torch.manual_seed(0)
    other = Trace_ELBO(max_plate_nesting=1).loss(model, guide, batch.singletons())
    assert one == other


def test_at_test_time_normals_of_a_group_multiply_as_an_mlvaes_do(batch):
    _, vae_guide, _, guide = make_vae()
    divergence = kl_divergence(posterior_of(vae_guide, batch), posterior_of(guide, batch))
    assert divergence.abs().max().item() == 0.0


def test_it_trains_on_grouped_minibatches():
    vae, guide, *_ = make_vae()
    history = fit(vae, guide, GroupSampler(small_data(), 3, 4), epochs=30)
    first, last = (history.epochs[i].terms.per_observation()["elbo"] for i in (0, -1))
    assert last > first
    assert len(pyro.get_param_store()) == 0


def test_config_chooses_its_guide_and_refuses_another():
    model, guide = RunConfig(model="vae").build((4,))
    assert (type(model), type(guide)) == (VAE, VAEGuide)
    with pytest.raises(
        InputError,
        match="'vae' goes with vae or ada-ml-vae or ada-gvae, got the guide 'product-of-normals'",
    ):
        RunConfig(model="vae", guide="product-of-normals")


def test_the_networks_and_their_first_weights_are_the_mlvaes():
    pairs = [RunConfig(model=name).build((1, 8, 8)) for name in ("vae", "mlvae")]
    for one, other in zip(*pairs, strict=True):
        for (name, a), (same, b) in zip(
            one.named_parameters(), other.named_parameters(), strict=True
        ):
            assert name == same
            assert torch.equal(a, b)
