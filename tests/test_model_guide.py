"""Models and guides: sites, plates, shapes, densities, draws and gradients."""

import math

import pyro
import pytest
import torch
from normals import as_normal, codes_of, posterior_of, said_of
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    GroupedGuide,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    make_likelihood,
)
from pyro_mlvae.ops import normal_from_parameters
from pyro_mlvae.training import elbo_terms

EVENT, CONTENT, STYLE = (2, 3), 4, 2
GROUP = torch.tensor([2, 0, 1, 0, 2, 0])


class StyleSeesContent(ProductOfNormals):
    """q(S_i | x_i, C_G), as a user would write it."""

    def __init__(self, encoder, **kwargs):
        super().__init__(encoder, **kwargs)
        self.shift = torch.nn.Linear(CONTENT, STYLE)

    def style_posterior(self, features, content):
        style = normal_from_parameters(self.split(features)[1])
        loc = style.loc + self.shift(content)
        return dist.Normal(loc, style.scale.expand_as(loc)).to_event(1)


def make_model(likelihood="normal"):
    likelihood = make_likelihood(likelihood)
    decoder = MLPDecoder(EVENT, CONTENT, STYLE, likelihood.outputs, hidden=(8,))
    return MLVAE(decoder, likelihood, CONTENT, STYLE).double()


def make_guide(kind=ProductOfNormals, prior_expert=False):
    return kind(MLPEncoder(EVENT, CONTENT, STYLE, hidden=(8,)), prior_expert=prior_expert).double()


@pytest.fixture
def batch():
    return GroupedBatch(torch.rand(len(GROUP), *EVENT).double(), GROUP, num_groups=3)


both_guides = pytest.mark.parametrize("kind", [ProductOfNormals, StyleSeesContent])
with_and_without_prior = pytest.mark.parametrize("prior_expert", [False, True])


@both_guides
def test_sites_and_plates_have_the_names_and_shapes_that_the_story_tells(kind, batch):
    guide_trace = poutine.trace(make_guide(kind)).get_trace(batch)
    model_trace = poutine.trace(poutine.replay(make_model(), guide_trace)).get_trace(batch)
    sites = {"content": ("groups", 3, (3, CONTENT)), "style": ("observations", 6, (6, STYLE))}
    plates = ["groups", "observations"]
    assert sorted(guide_trace.stochastic_nodes) == sorted([*sites, *plates])
    assert sorted(model_trace.stochastic_nodes) == sorted([*sites, *plates])
    assert model_trace.observation_nodes == ["x"]
    for trace, own in [
        (guide_trace, sites),
        (model_trace, sites | {"x": ("observations", 6, (6, *EVENT))}),
    ]:
        for name, (plate, size, shape) in own.items():
            site = trace.nodes[name]
            assert [(f.name, f.dim, f.size) for f in site["cond_indep_stack"]] == [
                (plate, -1, size)
            ]
            assert site["value"].shape == shape
            assert site["fn"].batch_shape == (size,)


@both_guides
@with_and_without_prior
@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, RenyiELBO])
@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("nesting", [1, math.inf])
def test_every_estimator_accepts_them_under_validation(
    kind, prior_expert, estimator, vectorised, nesting, batch
):
    options = {"num_particles": 2, "vectorize_particles": vectorised, "max_plate_nesting": nesting}
    model, guide = make_model(), make_guide(kind, prior_expert)
    loss = estimator(**options, strict_enumeration_warning=False).loss_and_grads(
        model, guide, batch
    )
    assert math.isfinite(loss)
    assert all(p.grad is not None for m in (model, guide) for p in m.parameters())


@pytest.mark.parametrize("name", ["normal", "normal-learned", "bernoulli", "continuous-bernoulli"])
def test_the_log_joint_is_the_sum_of_its_densities_and_is_not_divided_by_pixels(name, batch):
    model = make_model(name)
    trace = poutine.trace(model).get_trace(batch)
    content, style = trace.nodes["content"]["value"], trace.nodes["style"]["value"]
    parameters = model.decoder(content[GROUP], style)
    x = batch.x

    def normal(value, loc, scale):
        return -0.5 * ((value - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)

    if name == "normal":
        log_likelihood = normal(x, parameters[0], torch.tensor(0.2, dtype=torch.float64))
    elif name == "normal-learned":
        log_likelihood = normal(x, parameters[0], torch.exp(0.5 * torch.tanh(parameters[1])))
    else:
        p = torch.sigmoid(parameters[0])
        log_likelihood = x * p.log() + (1 - x) * (1 - p).log()
        if name == "continuous-bernoulli":
            log_likelihood = log_likelihood + (2 * torch.atanh(1 - 2 * p) / (1 - 2 * p)).log()
    one = torch.ones(()).double()
    expected = log_likelihood.sum() + normal(content, 0, one).sum() + normal(style, 0, one).sum()
    # Continuous Bernoulli is expanded in a series around p = 1/2 by PyTorch.
    torch.testing.assert_close(
        trace.log_prob_sum(), expected, atol=1e-4 if "con" in name else 1e-9, rtol=0
    )


@both_guides
@with_and_without_prior
def test_draws_have_exactly_the_posterior_loc_and_scale(kind, prior_expert, batch):
    guide, n = make_guide(kind, prior_expert), 4000
    with torch.no_grad(), pyro.plate("particles", n, dim=-2):
        trace = poutine.trace(guide).get_trace(batch)
        content, style = trace.nodes["content"]["value"], trace.nodes["style"]["value"]
        content_posterior = posterior_of(guide, batch)
        style_posterior = as_normal(guide.style_posterior(guide.encode(batch.x), content[:, GROUP]))
    for draws, posterior in [(content, content_posterior), (style, style_posterior)]:
        noise = (draws - posterior.loc) / posterior.scale
        # Standard errors of a mean and of a standard deviation of n standard Normals. Few dozens of
        # each are compared, so that 5 of them are exceeded less than once in ten thousand seeds.
        assert (noise.mean(0).abs() < 5 / n**0.5).all()
        assert ((noise.std(0) - 1).abs() < 5 / (2 * n) ** 0.5).all()


@both_guides
@with_and_without_prior
@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_gradient_reaches_every_parameter_and_every_head(kind, prior_expert, estimator, batch):
    model, guide = make_model("normal-learned"), make_guide(kind, prior_expert)
    estimator(max_plate_nesting=1).differentiable_loss(model, guide, batch).backward()
    for module in (model, guide):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    # Rows of the last layer: content loc, content scale, style loc, style scale.
    head = guide.encoder.layers[-1].weight.grad
    assert head.shape[0] == 2 * (CONTENT + STYLE)
    assert (head.abs().sum(1) > 0).all()


def test_the_likelihood_alone_teaches_the_content_encoder(batch):
    """Without this, detached content statistics could hide behind the gradient of their KL."""
    guide, model = make_guide(), make_model()
    trace = poutine.trace(guide).get_trace(batch)
    content, style = trace.nodes["content"]["value"], trace.nodes["style"]["value"]
    model.observation(content[GROUP], style).log_prob(batch.x).sum().backward()
    head = guide.encoder.layers[-1].weight.grad
    assert (head[: 2 * CONTENT].abs().sum(1) > 0).all()


@both_guides
def test_vectorised_particles_score_what_each_would_score_alone(kind, batch):
    model, guide = make_model("normal-learned"), make_guide(kind)
    with pyro.plate("particles", 5, dim=-2):
        guide_trace = poutine.trace(guide).get_trace(batch)
        model_trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(batch)
    model_trace.compute_log_prob()
    content, style = (guide_trace.nodes[name]["value"] for name in ("content", "style"))
    assert (content.shape, style.shape) == ((5, 3, CONTENT), (5, 6, STYLE))
    assert model_trace.nodes["x"]["log_prob"].shape == (5, 6)
    for k in range(5):
        alone = poutine.condition(model, {"content": content[k], "style": style[k]})
        alone = poutine.trace(alone).get_trace(batch)
        alone.compute_log_prob()
        torch.testing.assert_close(
            model_trace.nodes["x"]["log_prob"][k], alone.nodes["x"]["log_prob"]
        )


def test_a_guide_that_does_not_say_how_to_aggregate_says_so(batch):
    class Unfinished(GroupedGuide):
        pass

    with pytest.raises(
        NotImplementedError, match=r"Unfinished must define content_posterior\(features, groups\)"
    ):
        Unfinished(MLPEncoder(EVENT, CONTENT, STYLE).double())(batch)


@both_guides
@with_and_without_prior
def test_codes_are_the_posteriors_of_observations_taken_alone(kind, prior_expert, batch):
    guide = make_guide(kind, prior_expert)
    content, style = codes_of(guide, batch)
    for i, x in enumerate(batch.x):
        alone = GroupedBatch(x[None], torch.tensor([0]), 1)
        posterior = posterior_of(guide, alone)
        torch.testing.assert_close(content.loc[i], posterior.loc[0])
        torch.testing.assert_close(content.scale[i], posterior.scale[0])
        own_style = as_normal(guide.style_posterior(guide.encode(x[None]), posterior.loc))
        torch.testing.assert_close(style.loc[i], own_style.loc[0])
        torch.testing.assert_close(style.scale[i], own_style.scale[0])


def test_the_content_of_the_whole_group_is_not_what_codes_show_style(batch):
    """The group's content would carry what other observations say, the label too, into style."""
    guide = make_guide(StyleSeesContent)
    _, style = codes_of(guide, batch)
    of_group = posterior_of(guide, batch).loc[GROUP]
    leaking = as_normal(guide.style_posterior(guide.encode(batch.x), of_group))
    assert (style.loc - leaking.loc)[GROUP != 1].abs().min() > 0
    torch.testing.assert_close(style.loc[GROUP == 1], leaking.loc[GROUP == 1])


@with_and_without_prior
def test_content_is_the_product_of_its_observations_and_of_the_prior_if_asked(prior_expert, batch):
    guide = make_guide(prior_expert=prior_expert)
    posterior, (content, _) = posterior_of(guide, batch), said_of(guide, batch.x)
    precision = content.scale**-2
    for g in range(3):
        members = batch.group == g
        total = precision[members].sum(0) + float(prior_expert)
        loc = (precision * content.loc)[members].sum(0) / total
        torch.testing.assert_close(posterior.loc[g], loc)
        torch.testing.assert_close(posterior.scale[g], total**-0.5)


@both_guides
def test_elbo_terms_are_the_closed_form_divergences_and_the_expected_log_likelihood(kind, batch):
    model, guide = make_model(), make_guide(kind)
    terms = elbo_terms(model, guide, batch, seed=3)
    torch.manual_seed(3)
    trace = poutine.trace(guide).get_trace(batch)
    content, style = trace.nodes["content"]["value"], trace.nodes["style"]["value"]
    q_content, q_style = (
        trace.nodes["content"]["fn"].base_dist,
        trace.nodes["style"]["fn"].base_dist,
    )

    def kl(q):
        return (0.5 * (q.loc**2 + q.scale**2 - 1) - q.scale.log()).sum().item()

    assert terms.kl == pytest.approx({"content": kl(q_content), "style": kl(q_style)}, rel=1e-9)
    log_likelihood = (
        dist.Normal(model.decoder(content[GROUP], style)[0], 0.2).log_prob(batch.x).sum()
    )
    assert terms.reconstruction == pytest.approx(log_likelihood.item(), rel=1e-9)
    assert terms.elbo == pytest.approx(terms.reconstruction - kl(q_content) - kl(q_style), rel=1e-9)
    assert (terms.observations, terms.groups) == (6, 3)
    assert kl(q_content) == pytest.approx(
        kl_divergence(posterior_of(guide, batch), dist.Normal(0.0, 1.0)).sum().item(), rel=1e-6
    )


@pytest.mark.parametrize("dims", [(0, 2), (2, 0), (-1, 2), (2, True)])
def test_dims_must_be_positive_whole_numbers(dims):
    for make in (
        lambda: MLVAE(MLPDecoder(EVENT, 2, 2), NormalLikelihood(), *dims),
        lambda: MLPDecoder(EVENT, *dims),
        lambda: MLPEncoder(EVENT, *dims),
    ):
        with pytest.raises(
            InputError, match=r"(content|style)_dim must be a positive whole number"
        ):
            make()


@pytest.mark.parametrize("program", [make_model, make_guide])
def test_observations_of_another_shape_are_refused_with_both_shapes(program):
    batch = GroupedBatch(torch.rand(6, 3, 2).double(), GROUP, num_groups=3)
    with pytest.raises(InputError, match=r"\[2, 3\].*\[3, 2\]"):
        program()(batch)
