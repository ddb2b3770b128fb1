"""Penalties by themselves: values and gradients against closed forms, brute force and symmetry."""

import math
from itertools import permutations

import pyro
import pytest
import torch
from fitting import make_pair
from normals import as_normal, posterior_of
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.trace_struct import Trace
from torch.distributions import Normal, kl_divergence

from pyro_mlvae import GroupedBatch, InputError, StyleGivenContent
from pyro_mlvae.estimators.group_weights import PARTICLES
from pyro_mlvae.models import MixturePriorMLVAE
from pyro_mlvae.penalties import HSIC, AggregateStyle, Latents, WeightedKL
from pyro_mlvae.penalties.hsic import hsic

GROUP = torch.tensor([0, 1, 2, 0, 1, 0])
exactly = {"rtol": 1e-10, "atol": 1e-10}


def small_batch():
    return GroupedBatch(torch.rand(6, 5).double(), GROUP, 3)


def double_pair(conditional=False, mixture=False):
    model, guide = make_pair()
    if mixture:
        model = MixturePriorMLVAE(model.decoder, model.likelihood, 2, 2, components=3)
    if conditional:
        guide.style_given_content = StyleGivenContent(2, 2, hidden=(4,))
    return model.double(), guide.double()


def one_pass(model, guide, batch, *, step=0, particles=1):
    """Guide and model as an estimator runs them, with so many particles vectorised."""
    if particles > 1:
        plate = pyro.plate(PARTICLES, particles, dim=-2)
        model, guide = plate(model), plate(guide)
    drawn = poutine.trace(guide).get_trace(batch)
    return Latents(batch, step, drawn, poutine.trace(poutine.replay(model, drawn)).get_trace(batch))


def divergence_of(guide, batch, site, latents):
    """In closed form from the guide's own methods, ``[*particles, members, dim]``."""
    if site == "content":
        posterior = posterior_of(guide, batch)
    else:
        own = latents.value("content").index_select(-2, batch.group)
        posterior = as_normal(guide.style_posterior(guide.encode(batch.x), own))
    zero = torch.zeros_like(posterior.loc)
    return kl_divergence(Normal(posterior.loc, posterior.scale), Normal(zero, zero + 1.0))


def gradient_of(value, *modules):
    parameters = [p for module in modules for p in module.parameters()]
    found = torch.autograd.grad(
        value, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.flatten() for g in found])


each_site = pytest.mark.parametrize("site", ["content", "style"])
each_pair = pytest.mark.parametrize("conditional", [False, True], ids=["mean-field", "conditional"])


@each_site
@each_pair
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_it_adds_beta_less_one_times_the_divergence(site, conditional, particles, beta):
    (model, guide), batch = double_pair(conditional), small_batch()
    latents = one_pass(model, guide, batch, particles=particles)
    assert latents.value("content").shape[:-2] == ((particles,) if particles > 1 else ())
    found = WeightedKL(site, beta)(latents)
    by_particle = divergence_of(guide, batch, site, latents).sum((-1, -2))
    expected = (beta - 1.0) * by_particle.mean()
    torch.testing.assert_close(found, expected, **exactly)
    gradient = gradient_of(found, guide)
    torch.testing.assert_close(gradient, gradient_of(expected, guide), **exactly)
    assert (gradient.abs().max() > 0.01) == (beta != 1.0)


@each_site
def test_the_weight_rises_over_the_warm_up_and_then_stays(site):
    (model, guide), batch = double_pair(), small_batch()
    found = []
    for step in (0, 1, 2, 3, 4, 5, 100):
        latents = one_pass(model, guide, batch, step=step)
        added = WeightedKL(site, 3.0, warmup_steps=4)(latents)
        found.append((added / divergence_of(guide, batch, site, latents).sum()).item() + 1.0)
    assert found == pytest.approx([0.0, 0.75, 1.5, 2.25, 3.0, 3.0, 3.0], abs=1e-10)


@each_site
@pytest.mark.parametrize(
    ("beta", "warmup_steps", "weight"), [(1.0, 0, 1.0), (3.0, 0, 3.0), (3.0, 4, 1.5)]
)
@pytest.mark.parametrize("particles", [1, 3])
def test_free_bits_hold_a_dimension_below_them_and_weigh_one_above(
    site, beta, warmup_steps, weight, particles
):
    (model, guide), batch = double_pair(conditional=True), small_batch()
    latents = one_pass(model, guide, batch, step=2, particles=particles)
    members = len(batch) if site == "style" else batch.num_groups
    mean = divergence_of(guide, batch, site, latents).flatten(0, -2).mean(0)
    low, high = sorted(mean.tolist())
    assert high - low > 1e-3
    free = (low + high) / 2
    own = members * mean.sum()
    whole = own + WeightedKL(site, beta, warmup_steps, free_bits=free)(latents)
    assert whole.item() == pytest.approx(weight * members * (free + high), rel=1e-10)
    above = weight * members * mean[mean.argmax()]
    torch.testing.assert_close(gradient_of(whole, guide), gradient_of(above, guide), **exactly)
    nothing = own + WeightedKL(site, beta, warmup_steps, free_bits=2 * high)(latents)
    assert nothing.item() == pytest.approx(weight * members * 4 * high, rel=1e-10)
    assert gradient_of(nothing, guide).abs().max() < 1e-12


def test_where_there_is_no_closed_form_it_is_the_log_ratio_of_the_draw():
    (model, guide), batch = double_pair(mixture=True), small_batch()
    latents = one_pass(model, guide, batch, particles=5)
    found = WeightedKL("content", 3.0)(latents)
    content = latents.value("content")
    posterior = posterior_of(guide, batch)
    parts = [Normal(loc, s.exp()).log_prob(content.unsqueeze(-2)[..., 0, :]).sum(-1)
             for loc, s in zip(model.locs, model.log_scales, strict=True)]  # fmt: skip
    prior = torch.logsumexp(torch.stack(parts, -1) + model.logits.log_softmax(0), -1)
    expected = 2.0 * (posterior.log_prob(content).sum(-1) - prior).sum() / 5
    torch.testing.assert_close(found, expected, **exactly)
    of_both = (gradient_of(value, guide, model) for value in (found, expected))
    torch.testing.assert_close(*of_both, **exactly)
    assert gradient_of(found, model).abs().max() > 0.01


def test_the_log_ratio_is_on_average_the_divergence_from_the_mixture():
    (model, guide), batch = double_pair(mixture=True), small_batch()
    with torch.no_grad():
        calls = [float(WeightedKL("content", 2.0)(one_pass(model, guide, batch, particles=100)))
                 for _ in range(40)]  # fmt: skip
        calls = torch.tensor(calls)
        # By brute force: an integral over a fine grid of the plane, of each group.
        axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        prior = model.content_prior(batch.groups).log_prob(grid)
        posterior = posterior_of(guide, batch)
        brute = 0.0
        for loc, scale in zip(posterior.loc, posterior.scale, strict=True):
            log_q = Normal(loc, scale).log_prob(grid).sum(-1)
            assert float(log_q.exp().sum()) * 0.05**2 == pytest.approx(1.0, abs=1e-9)
            brute += float((log_q.exp() * (log_q - prior)).sum()) * 0.05**2
    standard_error = float(calls.std()) / math.sqrt(len(calls))
    assert standard_error < 0.05 * brute
    assert abs(float(calls.mean()) - brute) < 4 * standard_error


def latent(loc, scale, *, scalar=False, seen=None):
    """A program of one latent, a member for each row, of which some may be masked."""

    def program(batch):
        with (
            pyro.plate("groups", len(loc), dim=-1),
            poutine.mask(mask=True if seen is None else seen),
        ):
            fn = dist.Normal(loc, scale)
            pyro.sample("z", fn if scalar else fn.to_event(1))

    return program


@pytest.mark.parametrize("free", [False, True])
def test_masked_members_do_not_count(free):
    loc, scale = torch.randn(6, 2).double(), torch.rand(6, 2).double() + 0.1
    seen = torch.tensor([True, False, True, True, False, True])
    prior = latent(torch.zeros_like(loc), torch.ones_like(loc), seen=seen)
    latents = one_pass(prior, latent(loc, scale, seen=seen), small_batch(), particles=3)
    each = kl_divergence(Normal(loc, scale), Normal(0.0, 1.0))[seen].sum(0)
    assert each.max() > 1.1 * each.min()
    free_bits = each.mean().item() / 4 if free else 0.0  # between those of the two dimensions
    found = WeightedKL("z", 3.0, free_bits=free_bits)(latents)
    expected = (3.0 * each.clamp(min=4 * free_bits) - each).sum()
    torch.testing.assert_close(found, expected, **exactly)


@pytest.mark.parametrize("scalar", [True, False])
def test_free_bits_of_a_latent_of_scalars_are_those_of_one_dimension(scalar):
    loc, scale = torch.tensor([0.3, -1.0, 0.0]).double(), torch.tensor([0.5, 2.0, 1.0]).double()
    total = float(kl_divergence(Normal(loc, scale), Normal(0.0, 1.0)).sum())
    if not scalar:
        loc, scale = loc[:, None], scale[:, None]
    prior = latent(torch.zeros_like(loc), torch.ones_like(loc), scalar=scalar)
    latents = one_pass(prior, latent(loc, scale, scalar=scalar), small_batch())
    for free_bits, expected in [(total / 6, total), (total, 5 * total)]:
        added = WeightedKL("z", 2.0, free_bits=free_bits)(latents)
        assert added.item() == pytest.approx(expected, rel=1e-10)


def test_free_bits_with_a_mixture_prior_are_refused():
    latents = one_pass(*double_pair(mixture=True), small_batch())
    sentence = (
        r"^free_bits need Normals with independent dimensions, but posterior and prior of "
        r"'content' are LogVarianceNormal and MixtureSameFamily: weigh that divergence with "
        r"beta alone$"
    )
    with pytest.raises(InputError, match=sentence):
        WeightedKL("content", free_bits=0.1)(latents)


@pytest.mark.parametrize("scalar", [True, False])
def test_free_bits_do_not_take_what_is_made_of_a_normal_for_one(scalar):
    def program(batch):
        with pyro.plate("groups", 3, dim=-1):
            fn = dist.LogNormal(torch.zeros(3), 1.0)
            pyro.sample("z", fn if scalar else dist.LogNormal(torch.zeros(3, 2), 1.0).to_event(1))

    with pytest.raises(InputError, match="LogNormal and LogNormal: weigh"):
        WeightedKL("z", free_bits=0.1)(one_pass(program, program, small_batch()))


@pytest.mark.parametrize("site", ["stile", "x", "groups", "observations"])
def test_a_latent_that_does_not_exist_is_refused_with_those_there_are(site):
    latents = one_pass(*double_pair(), small_batch())
    with pytest.raises(
        InputError, match=f"^the guide has no latent '{site}': penalise one of content, style$"
    ):
        WeightedKL(site)(latents)


def test_what_is_observed_is_no_latent_of_the_model():
    latents = one_pass(*double_pair(), small_batch())
    with pytest.raises(
        InputError, match=r"^the model has no latent 'x': penalise one of content, style$"
    ):
        latents.prior("x")


# What follows sees only codes.


def of_styles(loc, group, scale=1.0):
    """What a penalty sees of observations with these styles."""
    batch = GroupedBatch(torch.zeros(len(loc), 1), group, int(group.max()) + 1)
    style = dist.Normal(loc, torch.as_tensor(scale).to(loc).expand_as(loc))
    return Latents(batch, 0, Trace(), Trace(), lambda: (style, style))


def with_gradient(penalty, loc, group):
    loc = loc.clone().requires_grad_()
    value = penalty(of_styles(loc, group))
    (gradient,) = torch.autograd.grad(value, loc)
    return value.detach(), gradient


def brute_hsic(k, l):  # noqa: E741
    """E[K_ij L_ij] + E[K_ij L_qr] - 2 E[K_ij L_iq], each over all distinct indices."""
    n = len(k)

    def mean(terms):
        return torch.stack(list(terms)).mean()

    pairs = mean(k[i, j] * l[i, j] for i, j in permutations(range(n), 2))
    quadruples = mean(k[i, j] * l[q, r] for i, j, q, r in permutations(range(n), 4))
    triples = mean(k[i, j] * l[i, q] for i, j, q in permutations(range(n), 3))
    return pairs + quadruples - 2 * triples


def same_group(group):
    return (group[:, None] == group[None, :]).double()


@pytest.mark.parametrize("n", [4, 5, 7])
def test_hsic_is_the_mean_over_distinct_quadruples(n):
    draws = torch.rand(2, n, n).double()
    first, second = draws + draws.mT
    torch.testing.assert_close(hsic(first, second), brute_hsic(first, second), **exactly)
    # What stands on the diagonals is of no observation and another.
    torch.testing.assert_close(
        hsic(first + 9 * torch.eye(n), second), hsic(first, second), **exactly
    )


def test_hsic_is_zero_on_average_for_independent_draws_and_positive_for_dependent_ones():
    def kernel(draws):
        return torch.exp(-0.5 * torch.cdist(draws, draws).square())

    independent, dependent = [], []
    for _ in range(500):
        first, noise = torch.randn(2, 8, 1).double().unbind()
        independent.append(hsic(kernel(first), kernel(noise)))
        dependent.append(hsic(kernel(first), kernel(first + 0.5 * noise)))
    for values, low, high in [(independent, -4, 4), (dependent, 15, math.inf)]:
        values = torch.stack(values)
        standard_error = values.std() / math.sqrt(len(values))
        assert standard_error < 3e-3
        assert low < float(values.mean() / standard_error) < high


@pytest.mark.parametrize("bandwidths", [(0.5,), (0.03, 0.12, 0.5)])
def test_the_penalty_is_the_normalised_hsic_per_observation(bandwidths):
    loc = torch.randn(6, 2).double().requires_grad_()
    z = (loc - loc.detach().mean(0)) / (loc.detach().std(0) + 1e-6)
    squared = (z[:, None] - z[None, :]).square().mean(-1)
    k = sum((-squared / (2 * b)).exp() for b in bandwidths) / len(bandwidths)
    same = same_group(GROUP)
    size = brute_hsic(k, k).detach() * brute_hsic(same, same)
    expected = 7.0 * 6 * brute_hsic(k, same) / size.sqrt()
    found, gradient = with_gradient(HSIC(7.0, bandwidths), loc, GROUP)
    torch.testing.assert_close(found, expected.detach(), **exactly)
    (wanted,) = torch.autograd.grad(expected, loc)
    torch.testing.assert_close(gradient, wanted, **exactly)
    assert gradient.abs().max() > 0.1


def test_over_all_the_ways_to_deal_out_styles_the_penalty_is_zero_on_average():
    loc = torch.randn(5, 2).double()
    dealt = [HSIC(1.0)(of_styles(loc[list(order)], torch.tensor([0, 0, 0, 1, 1])))
             for order in permutations(range(5))]  # fmt: skip
    assert torch.stack(dealt).std() > 0.1
    assert abs(float(torch.stack(dealt).mean())) < 1e-10


def test_styles_that_tell_the_group_have_the_whole_weight():
    group = torch.arange(12) % 2
    loc = group[:, None].double() * torch.tensor([1.0, -3.0]).double()
    assert float(HSIC(5.0, (1e-3,))(of_styles(loc, group))) == pytest.approx(5.0 * 12, rel=1e-8)


@pytest.mark.parametrize("penalty", [HSIC(2.0), AggregateStyle(2.0)], ids=["hsic", "aggregate"])
def test_names_and_order_of_groups_and_observations_do_not_matter(penalty):
    loc = torch.randn(6, 2).double()
    value, gradient = with_gradient(penalty, loc, GROUP)
    assert value.abs() > 0.1
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    renamed = torch.tensor([2, 0, 1])[GROUP]
    other, moved = with_gradient(penalty, loc[order], renamed[order])
    torch.testing.assert_close(other, value, **exactly)
    torch.testing.assert_close(moved, gradient[order], **exactly)


def test_where_styles_lie_and_in_what_unit_each_dimension_is_does_not_matter_to_hsic():
    loc = torch.randn(6, 2).double() * 10
    moved = loc * torch.tensor([3.0, -50.0]).double() + torch.tensor([-7.0, 4.0]).double()
    values = [HSIC(1.0)(of_styles(styles, GROUP)) for styles in (loc, moved)]
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)  # but for what guards against zero
    assert values[0].abs() > 0.01


@pytest.mark.parametrize(
    "group",
    [[0, 0, 1], [0, 1, 2], [0], [0] * 6, list(range(6))],
    ids=["three", "three apart", "one", "one group", "groups of one"],
)
def test_minibatches_that_cannot_tell_have_no_say(group):
    value, gradient = with_gradient(
        HSIC(1.0), torch.randn(len(group), 2).double(), torch.tensor(group)
    )
    assert float(value) == 0.0
    assert (gradient == 0.0).all()


@pytest.mark.parametrize("apart", [0, 1])
def test_one_group_and_perhaps_one_more_observation_cannot_tell_in_float32_either(apart):
    group = torch.tensor([0] * 99 + [apart])
    value, gradient = with_gradient(HSIC(1.0), torch.randn(100, 10), group)
    assert abs(float(value)) < 1e-3 * apart + 1e-9
    assert gradient.abs().max() < 1e-3 * apart + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "styles", ["constant", "one dimension constant", "duplicates", "all twice"]
)
def test_styles_that_coincide_have_a_value_and_a_gradient(styles, dtype):
    loc = torch.randn(6, 2).to(dtype)
    if styles == "constant":
        loc[:] = 0.3
    elif styles == "one dimension constant":
        loc[:, 0] = 0.3
    elif styles == "duplicates":
        loc[1] = loc[0]
    else:
        loc[3:] = loc[:3]
    value, gradient = with_gradient(HSIC(1.0), loc, GROUP)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if styles == "constant":
        assert abs(float(value)) < 1e-4


def test_descent_on_hsic_alone_takes_the_group_out_of_style():
    group = torch.arange(40) % 4
    loc = (torch.randn(40, 2) + 4.0 * torch.randn(4, 2)[group]).double().requires_grad_()

    def share():
        """Of the variance of style, what lies between groups."""
        means = torch.stack([loc[group == g].mean(0) for g in range(4)])
        return (means.var(0, correction=0) / loc.var(0, correction=0)).mean().item()

    penalty, optimizer = HSIC(1.0), torch.optim.Adam([loc], lr=0.05)
    values, before = [], share()
    for _ in range(150):
        value = penalty(of_styles(loc, group))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item() / 40)
    assert before > 0.7
    assert values[0] > 0.3
    assert share() < 0.2
    assert values[-1] < 0.02
    assert loc.std(0).min() > 0.1


def test_the_aggregate_is_compared_with_the_prior_by_its_moments():
    """By hand: a group of two, at 1 and 3 with scale 2, has mean 2 and variance 4 + 1."""
    loc = torch.tensor([[1.0], [9.0], [3.0]]).double()
    found = AggregateStyle(10.0)(of_styles(loc, torch.tensor([0, 1, 0]), scale=2.0))
    assert float(found) == pytest.approx(
        10.0 * 2 * 0.5 * (5.0 + 2.0**2 - 1.0 - math.log(5.0)), rel=1e-12
    )


def test_groups_of_one_have_no_say_in_the_aggregate():
    loc = torch.randn(5, 3).double()
    value, gradient = with_gradient(AggregateStyle(1.0), loc, torch.tensor([0, 1, 0, 2, 0]))
    assert value > 0.1
    assert (gradient.abs().sum(-1) > 0).tolist() == [True, False, True, False, True]
    value, gradient = with_gradient(AggregateStyle(1.0), loc, torch.arange(5))
    assert value == 0.0
    assert (gradient == 0.0).all()


def test_the_aggregate_is_free_where_the_moments_are_those_of_the_prior():
    loc = torch.tensor([[0.6], [-0.6], [0.0], [0.0], [0.8], [-0.8]], dtype=torch.float64)
    scale = torch.tensor([[0.8], [0.8], [1.0], [1.0], [0.6], [0.6]], dtype=torch.float64)
    leaf = loc.requires_grad_()
    value = AggregateStyle(3.0)(of_styles(leaf, torch.tensor([0, 0, 1, 1, 2, 2]), scale))
    assert abs(value.item()) < 1e-12
    assert torch.autograd.grad(value, leaf)[0].abs().max() < 1e-12


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, -math.inf, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda bad: HSIC(bad), "weight"),
        (lambda bad: AggregateStyle(bad), "weight"),
        (lambda bad: WeightedKL("style", bad), "beta"),
        (lambda bad: WeightedKL("style", free_bits=bad), "free_bits"),
    ],
    ids=["hsic", "aggregate", "beta", "free-bits"],
)
def test_a_weight_that_is_no_finite_number_of_at_least_0_is_refused(make, name, bad):
    with pytest.raises(
        InputError, match=f"^{name} must be a finite number of at least 0, got {bad}$"
    ):
        make(bad)


@pytest.mark.parametrize("bad", [-1, True])
def test_so_is_a_warm_up(bad):
    with pytest.raises(
        InputError, match=f"^warmup_steps must be a finite number of at least 0, got {bad}$"
    ):
        WeightedKL("style", warmup_steps=bad)


@pytest.mark.parametrize("bad", [(), (0.0,), (0.5, -1.0), (math.nan,), (math.inf,)])
def test_bandwidths_that_are_none_or_not_positive_are_refused(bad):
    with pytest.raises(
        InputError, match=r"^bandwidths must be positive and finite, and at least one, got"
    ):
        HSIC(1.0, bad)


def test_of_the_weights_zero_is_one():
    latents = of_styles(torch.randn(6, 2), GROUP)
    assert HSIC(0.0)(latents) == AggregateStyle(0.0)(latents) == 0.0
