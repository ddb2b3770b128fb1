"""Ada-ML-VAE and Ada-GVAE: what a pair shares, and how it is pooled, against loops over pairs."""

import pytest
import torch
from fitting import fit_small, make_pair
from normals import said_of
from pyro import poutine
from test_recorded_steps import assert_a_replay_is_the_eager_step, mlp
from torch import nn
from torch.distributions import Normal, kl_divergence

from pyro_mlvae import VAE, GroupedBatch, InputError, MLPEncoder, VAEGuide, check
from pyro_mlvae.guides import AdaGVAEGuide, AdaMLVAEGuide
from pyro_mlvae.ops import product_of_normals
from pyro_mlvae.ops.pairs import partners, shared_dimensions
from pyro_mlvae.runs.config import RunConfig

exactly = {"rtol": 1e-8, "atol": 1e-8}
GROUP = torch.tensor([0, 1, 0, 2, 0, 1, 3, 3, 3, 3])
PAIRS = [(0, 2), (1, 5), (6, 7), (8, 9)]  # 3 is alone in its group, and 4 is left over
GUIDES = {"product": AdaMLVAEGuide, "average": AdaGVAEGuide}
each_guide = pytest.mark.parametrize("kind", GUIDES)


def make_guide(kind):
    torch.manual_seed(0)
    guide = GUIDES[kind](MLPEncoder((5,), 3, 2, hidden=(8,))).double()
    with torch.no_grad():
        guide.encoder.layers[-1].weight *= 4.0
    return guide


def make_batch():
    return GroupedBatch(
        torch.rand(10, 5, generator=torch.Generator().manual_seed(1)).double(), GROUP, 4
    )


def by_hand(guide, kind, x):
    """One pair and one dimension after the other, as in the paper."""
    parts = said_of(guide, x)
    loc, scale = (
        torch.cat([getattr(part, name) for part in parts], -1) for name in ("loc", "scale")
    )
    new_loc, new_scale = loc.clone(), scale.clone()
    shared = {}
    for first, second in PAIRS:
        one, two = (Normal(loc[i].detach(), scale[i].detach()) for i in (first, second))
        kl = kl_divergence(one, two).tolist()
        middle = 0.5 * (max(kl) + min(kl))
        shared[first, second] = [d for d in range(5) if kl[d] < middle]
        for d in shared[first, second]:
            if kind == "product":
                one, other = scale[first, d] ** -2, scale[second, d] ** -2
                pooled = (one * loc[first, d] + other * loc[second, d]) / (one + other)
                spread = (one + other) ** -0.5
            else:
                pooled = (loc[first, d] + loc[second, d]) / 2
                spread = ((scale[first, d] ** 2 + scale[second, d] ** 2) / 2).sqrt()
            for i in (first, second):
                new_loc[i, d], new_scale[i, d] = pooled, spread
    return new_loc, new_scale, shared


@each_guide
def test_training_draws_from_what_a_pair_says_of_the_dimensions_that_it_shares(kind):
    guide, batch = make_guide(kind), make_batch()
    with torch.no_grad():
        loc, scale, shared = by_hand(guide, kind, batch.x)
        nodes = poutine.trace(guide).get_trace(batch).nodes
    assert {len(dims) for dims in shared.values()} <= {1, 2, 3, 4}
    found = [nodes[site]["fn"].base_dist for site in ("content", "style")]
    torch.testing.assert_close(torch.cat([fn.loc for fn in found], -1), loc, **exactly)
    torch.testing.assert_close(torch.cat([fn.scale for fn in found], -1), scale, **exactly)


@each_guide
def test_its_divergence_is_that_of_the_pooled_normals_and_has_their_gradient(kind):
    guide, batch = make_guide(kind), make_batch()
    content, style = guide.of_pairs(guide.encode(batch.x), batch.groups)
    found = sum(
        kl_divergence(Normal(q.loc, q.scale), Normal(0.0, 1.0)).sum() for q in (content, style)
    )
    loc, scale, _ = by_hand(guide, kind, batch.x)
    expected = 0.5 * (loc.square() + scale.square() - 1.0 - 2.0 * scale.log()).sum()
    torch.testing.assert_close(found, expected, **exactly)
    parameters = list(guide.parameters())
    for one, other in zip(torch.autograd.grad(found, parameters, retain_graph=True),
                          torch.autograd.grad(expected, parameters), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, **exactly)


def test_the_middle_is_that_of_the_range_and_not_the_mean():
    """Divergences of 0, 0, 0, 3 and 8 nats have their middle at 4, and their mean at 2.2."""
    loc = torch.zeros(2, 5).double()
    loc[1] = torch.tensor([0.0, 0.0, 0.0, 6.0, 16.0]).double().sqrt()
    shared = shared_dimensions(loc, torch.zeros(2, 5).double(), torch.tensor([1, 0]))
    assert shared.tolist() == [[True, True, True, True, False]] * 2


def test_the_product_of_two_is_that_of_a_group_of_two():
    loc, scale = torch.randn(2, 3).double(), torch.rand(2, 3).double() + 0.1
    wanted_loc, wanted_scale = product_of_normals(loc, scale, torch.tensor([0, 0]), 1)
    guide = make_guide("product")
    found_loc, log_variance = guide.pooled(loc[0], 2 * scale[0].log(), loc[1], 2 * scale[1].log())
    torch.testing.assert_close(found_loc, wanted_loc[0], **exactly)
    torch.testing.assert_close((0.5 * log_variance).exp(), wanted_scale[0], **exactly)


def test_observations_of_a_group_are_paired_as_they_come():
    wanted = list(range(10))
    for first, second in PAIRS:
        wanted[first], wanted[second] = second, first
    assert partners(GROUP, 4).tolist() == wanted


@each_guide
def test_at_test_time_each_observation_is_by_itself(kind):
    guide, batch = make_guide(kind), make_batch()
    vae = VAEGuide(guide.encoder)
    for program in (guide, vae):
        program.eval()
    values = []
    for program in (guide, vae):
        torch.manual_seed(0)
        values.append(poutine.trace(program).get_trace(batch).nodes["content"]["value"])
    assert torch.equal(*values)


@each_guide
def test_it_trains_is_sound_and_learns_by_all_its_parameters(kind):
    model, guide = make_pair()
    model, guide = VAE(model.decoder, model.likelihood, 2, 2), GUIDES[kind](guide.encoder)
    check(model, guide, GroupedBatch(torch.rand(6, 5), torch.tensor([0, 0, 0, 1, 2, 2]), 3))
    assert torch.isfinite(torch.tensor(fit_small(model, guide, epochs=1).epochs[-1].objective))


def test_a_recorded_step_pairs_anew():
    assert_a_replay_is_the_eager_step(lambda: mlp(VAE, AdaGVAEGuide), "trace 1")


@pytest.mark.parametrize(
    "options", [{"evidence": "random-part"}, {"style_given_content": nn.Identity()}]
)
def test_options_that_are_not_for_pairs_are_refused(options):
    with pytest.raises(
        InputError, match=r"^style_given_content and evidence are not for guides of pairs"
    ):
        AdaMLVAEGuide(MLPEncoder((5,), 2, 2), **options)


@pytest.mark.parametrize(
    ("name", "kind"), [("ada-ml-vae", AdaMLVAEGuide), ("ada-gvae", AdaGVAEGuide)]
)
def test_they_have_names(name, kind):
    model, guide = RunConfig(model="vae", guide=name, hidden=(8,)).build((5,))
    assert type(guide) is kind
    assert type(model) is VAE
    with pytest.raises(InputError, match="the model 'mlvae' goes with"):
        RunConfig(model="mlvae", guide=name)
