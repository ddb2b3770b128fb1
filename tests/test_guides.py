"""Every guide against its closed form, with style alone and given content; the mixture prior."""

import pytest
import torch
from estimating import copies_of
from normals import codes_of, posterior_of, said_of
from pyro.distributions import Normal

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
    check,
)
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides import AverageOfNormals
from pyro_mlvae.models import MixturePriorMLVAE
from pyro_mlvae.ops import unbounded
from pyro_mlvae.runs.pairs import GUIDES
from pyro_mlvae.training import elbo_terms

CONTENT, STYLE = 3, 2
GROUP = torch.tensor([2, 0, 1, 0, 2, 0])


@pytest.fixture
def batch():
    return GroupedBatch(torch.rand(len(GROUP), 4).double(), GROUP, num_groups=3)


def encoder():
    return MLPEncoder((4,), CONTENT, STYLE, hidden=(8,))


def product(loc, scale, prior):
    """One at a time, in natural parameters."""
    precision = (scale**-2).sum(0) + prior
    return ((scale**-2) * loc).sum(0) / precision, precision**-0.5


CLOSED_FORMS = {
    "product-of-normals": lambda loc, scale: product(loc, scale, 0.0),
    "product-with-prior": lambda loc, scale: product(loc, scale, 1.0),
    "average-of-normals": lambda loc, scale: (loc.mean(0), (scale**2).mean(0) ** 0.5),
    # Of a single content, whose super-group is not known.
    "three-level": lambda loc, scale: product(loc, scale, 1.0),
    "vae": lambda loc, scale: product(loc, scale, 0.0),
}


def test_every_guide_has_a_closed_form_here():
    # Those of pairs share dimensions of a latent, and have tests of their own.
    assert set(CLOSED_FORMS) == set(GUIDES) - {"ada-ml-vae", "ada-gvae"}


@pytest.mark.parametrize("style_given_content", [False, True])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_content_is_the_closed_form_of_its_group(name, style_given_content, batch):
    style = StyleGivenContent(CONTENT, STYLE, hidden=(8,)) if style_given_content else None
    guide = GUIDES[name](encoder(), style_given_content=style).double()
    experts, _ = said_of(guide, batch.x)
    posterior = posterior_of(guide, batch)
    for g in range(3):
        loc, scale = CLOSED_FORMS[name](experts.loc[g == GROUP], experts.scale[g == GROUP])
        torch.testing.assert_close(posterior.loc[g], loc, atol=1e-12, rtol=0)
        torch.testing.assert_close(posterior.scale[g], scale, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_style_follows_content_only_where_it_is_given_content(name, batch):
    torch.manual_seed(1)
    for conditional in (None, StyleGivenContent(CONTENT, STYLE, hidden=(8,))):
        guide = GUIDES[name](encoder(), style_given_content=conditional).double()
        features = guide.encode(batch.x)
        _, style = said_of(guide, batch.x)
        content = torch.randn(5, len(batch), CONTENT).double()
        posterior = guide.style_posterior(features, content)
        moves = not torch.equal(posterior.mean, style.loc.expand(posterior.mean.shape))
        assert moves == (conditional is not None)
        # A single observation's style code is that of its own content, whatever its group says.
        own, code = codes_of(guide, batch)
        expected = guide.style_posterior(features, own.loc)
        torch.testing.assert_close(code.loc, expected.mean, atol=0, rtol=0)


def test_the_averages_scale_does_not_fall_with_the_number_of_observations_but_the_products_does():
    groups = Groups(torch.zeros(100, dtype=torch.int64), 1)
    features = torch.zeros(100, 4).double()
    features[:, 1] = float(unbounded(torch.tensor(2.0).double().log()))
    for kind, scale in ((AverageOfNormals, 2.0), (ProductOfNormals, 0.2)):
        guide = kind(MLPEncoder((4,), 1, 1, hidden=(8,)))
        assert float(guide.content_posterior(features, groups).stddev) == pytest.approx(scale)


def make_mixture(components=3):
    torch.manual_seed(2)
    decoder = MLPDecoder((4,), CONTENT, STYLE, hidden=(8,))
    return MixturePriorMLVAE(
        decoder, NormalLikelihood(), CONTENT, STYLE, components=components
    ).double()


def test_the_mixture_prior_is_the_weighted_sum_of_its_normals():
    model = make_mixture()
    with torch.no_grad():
        model.logits.copy_(torch.tensor([0.0, 1.0, -2.0]))
        model.log_scales.copy_(torch.randn(3, CONTENT))
    content = torch.randn(7, CONTENT).double()
    weight = model.logits.softmax(0)
    densities = torch.stack(
        [
            Normal(loc, log_scale.exp()).log_prob(content).sum(-1)
            for loc, log_scale in zip(model.locs, model.log_scales, strict=True)
        ]
    )
    expected = (weight[:, None] * densities.exp()).sum(0).log()
    torch.testing.assert_close(
        model.content_prior(Groups(torch.arange(7), 7)).log_prob(content),
        expected,
        atol=1e-12,
        rtol=0,
    )


def test_a_mixture_of_one_standard_normal_is_the_model_of_two_levels(batch):
    mixture = make_mixture(components=1)
    with torch.no_grad():
        mixture.locs.zero_()
    plain = MLVAE(mixture.decoder, mixture.likelihood, CONTENT, STYLE).double()
    guide = ProductOfNormals(encoder()).double()
    # A closed-form divergence against that of 2,000 draws, in nine dimensions whose log ratio has a
    # standard deviation of at most 1 each: four standard errors are 4 * (9 / 2000) ** 0.5 = 0.27.
    # Ten draws of each of 200 copies of the batch, side by side.
    copies = copies_of(batch, 200)
    exact, drawn = (
        elbo_terms(model, guide, copies, num_particles=10) for model in (plain, mixture)
    )
    assert float(drawn.kl["content"]) / 200 == pytest.approx(
        float(exact.kl["content"]) / 200, abs=0.27
    )
    assert float(drawn.kl["style"]) == pytest.approx(float(exact.kl["style"]))


@pytest.mark.parametrize("conditional", [False, True])
def test_the_mixture_prior_is_learned_with_every_guide_of_two_levels(conditional, batch):
    for name in ("product-of-normals", "product-with-prior", "average-of-normals"):
        style = StyleGivenContent(CONTENT, STYLE, hidden=(8,)) if conditional else None
        check(make_mixture(), GUIDES[name](encoder(), style_given_content=style).double(), batch)
