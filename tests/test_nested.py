"""The nested bound against the evidence of solved models, the group-wise bound, and a loop."""

import math

import pyro
import pytest
import torch
from estimating import LOADINGS, both_models, copies_of, exact_elbo, parameters, problem
from pyro import poutine
from pyro.distributions import Categorical, Normal
from test_estimator_programs import MISSING, Functions, small_batch
from test_three_level_bounds import PARENT, SIZES
from test_three_level_bounds import problem as three_levels
from torch import nn
from torch.distributions import constraints

from pyro_mlvae import (
    VAE,
    GroupedBatch,
    GroupedDataset,
    InputError,
    MLPEncoder,
    NormalLikelihood,
    VAEGuide,
)
from pyro_mlvae.estimators import GroupIWAE, NestedIWAE, make_estimator, nested, nested_bound
from pyro_mlvae.evaluation import elbo_metrics
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
from pyro_mlvae.solved.models import LinearDecoder


def estimate(model, guide, batch, draws, inner, seed=0, **options):
    torch.manual_seed(seed)
    estimator = NestedIWAE(draws, inner, max_plate_nesting=1, **options)
    return estimator.differentiable_loss(model, guide, batch)


@pytest.fixture(params=["one pass", "some draws a pass", "one draw a pass"])
def room(request, monkeypatch):
    """How much of x is decoded at once: everything, three times the batch, or the batch."""

    def make(batch):
        rows = {"one pass": 10**6, "some draws a pass": 3, "one draw a pass": 1}[request.param]
        monkeypatch.setattr(nested, "_VALUES_AT_ONCE", rows * batch.x.numel())

    return make


# Values.


@both_models
@pytest.mark.parametrize(("draws", "inner"), [(1, 1), (1, 4), (5, 1), (3, 4)])
def test_with_the_exact_guide_every_draw_is_the_evidence(make, draws, inner, room):
    solved, model, guide, batch = problem(make, by=0.0)
    room(batch)
    expected = solved.log_evidence(batch)
    bound = nested_bound(model, guide, batch, draws, inner)
    torch.testing.assert_close(bound, expected, atol=1e-8, rtol=0)
    loss = estimate(model, guide, batch, draws, inner)
    torch.testing.assert_close(-loss, expected.sum(), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("draws", "inner"), [(1, 1), (2, 3), (3, 1)])
def test_so_it_is_on_three_levels(draws, inner, room):
    solved, model, guide, batch = three_levels()
    room(batch)
    bound = nested_bound(model, guide, batch, draws, inner)
    torch.testing.assert_close(bound, solved.log_evidence(batch), atol=1e-8, rtol=0)
    loss = estimate(model, guide, batch, draws, inner)
    torch.testing.assert_close(-loss, solved.log_evidence(batch).sum(), atol=1e-8, rtol=0)


@both_models
@pytest.mark.parametrize("draws", [1, 7])
def test_with_one_draw_of_style_it_is_the_group_wise_bound_draw_by_draw(make, draws):
    _, model, guide, batch = problem(make)
    for seed in range(3):
        torch.manual_seed(seed)
        group_wise = GroupIWAE(draws, vectorize_particles=draws > 1, max_plate_nesting=1)
        expected = group_wise.bound(group_wise.log_weights(model, guide, batch)[0])
        bound = nested_bound(model, guide, batch, draws, 1, seed=seed)
        torch.testing.assert_close(bound, expected.detach(), atol=1e-9, rtol=0)
        torch.testing.assert_close(
            -estimate(model, guide, batch, draws, 1, seed), expected.sum(), atol=1e-9, rtol=0
        )


@both_models
def test_it_is_what_a_loop_over_groups_observations_and_draws_finds(make):
    """The formula, from the draws of the estimator, with densities of model and guide by name."""
    _, model, guide, batch = problem(make, torch.tensor([2, 1, 3]))
    draws, inner = 3, 4
    kept = []

    class Kept(NestedIWAE):
        def _get_trace(self, *args):
            kept.append(super()._get_trace(*args))
            return kept[-1]

    torch.manual_seed(5)
    found = -Kept(draws, inner, max_plate_nesting=1).loss(model, guide, batch)
    content, style = (kept[0][1].nodes[name]["value"] for name in ("content", "style"))
    content, style = content.unflatten(0, (draws, inner)), style.unflatten(0, (draws, inner))
    # One content for all the draws of style, which all differ.
    assert (content == content[:, :1]).all()
    assert len(content[:, 0, 0, 0].unique()) == draws
    assert len(style[..., 0, 0].unique()) == draws * inner
    features = guide.encode(batch.x)
    posterior, prior = (
        guide.content_posterior(features, batch.groups),
        model.content_prior(batch.groups),
    )
    total = 0.0
    for group in range(batch.num_groups):
        of_contents = []
        for k in range(draws):
            own = content[k, 0]
            weight = prior.log_prob(own[group]) - posterior.log_prob(own)[group]
            for i in (batch.group == group).nonzero().flatten().tolist():
                of_styles = []
                for m in range(inner):
                    given = guide.style_posterior(features, own[batch.group])
                    s = style[k, m]
                    of_styles.append(
                        model.observation(own[group], s[i]).log_prob(batch.x[i])
                        + model.style_prior(batch.groups).log_prob(s[i])
                        - given.log_prob(s)[i]
                    )
                weight = weight + torch.stack(of_styles).logsumexp(0) - math.log(inner)
            of_contents.append(weight)
        total = total + torch.stack(of_contents).logsumexp(0) - math.log(draws)
    assert found == pytest.approx(float(total.detach()), abs=1e-8)


@both_models
def test_both_numbers_tighten_it_from_the_elbo_towards_the_evidence(make):
    """Means over 1,000 draws, side by side as copies of the batch."""
    solved, model, guide, batch = problem(make, torch.tensor([1, 6, 3]), by=0.03)
    copies = copies_of(batch, 1000)
    evidence = float(solved.log_evidence(batch).sum())

    def mean(draws, inner):
        values = nested_bound(model, guide, copies, draws, inner).unflatten(0, (1000, -1)).sum(1)
        return float(values.mean()), float(values.std()) / 1000**0.5

    (elbo, error), more_styles, more_contents, both = (
        mean(*counts) for counts in ((1, 1), (1, 6), (6, 1), (6, 6))
    )
    expected = float(exact_elbo(model, guide, batch).detach())
    assert abs(elbo - expected) < 4 * error
    for value, own_error in (more_styles, more_contents):
        assert value > expected + 4 * own_error
        assert value < both[0] - 4 * (own_error + both[1])
    assert both[0] < evidence + 4 * both[1]


def test_for_as_many_decoded_observations_it_is_tighter_than_one_weight_a_group():
    """A group of 20, where a product over observations varies much: half the gap at most."""
    solved, model, guide, batch = problem(LinearGaussian.orthogonal, torch.tensor([20]), by=0.03)
    copies = copies_of(batch, 300)
    evidence = float(solved.log_evidence(batch))
    gaps = [
        evidence - float(nested_bound(model, guide, copies, *n).mean())
        for n in ((100, 1), (10, 10))
    ]
    assert 0.0 < gaps[1] < 0.5 * gaps[0]


def test_a_vae_is_bounded_by_observation():
    solved = LinearGaussian.orthogonal(dim=8, content_dim=3, style_dim=2)
    batch = solved.sample(torch.tensor([3, 5]), seed=1)
    model = VAE(LinearDecoder(solved), NormalLikelihood(solved.noise_scale), 3, 2).double()
    guide = VAEGuide(MLPEncoder((8,), 3, 2, (4,))).double()
    alone = batch.singletons()
    evidence = solved.log_evidence(alone)
    bounds = torch.stack(
        [nested_bound(model, guide, alone, 100, 10, seed=seed) for seed in range(10)]
    )
    error = bounds.std(0) / 10**0.5
    assert (bounds.mean(0) - evidence < 4 * error + 1e-3).all()
    elbo = torch.stack([nested_bound(model, guide, alone, 1, 1, seed=seed) for seed in range(50)])
    assert (elbo.mean(0) < bounds.mean(0)).all()
    with pytest.raises(InputError, match=r"must be of the batch's size 2, got 8: .*singletons"):
        nested_bound(model, guide, batch, 2, 2)


def test_on_three_levels_it_tightens_with_the_draws():
    """The mean gap of 300 super-groups, where content and style are too wide by a factor e^0.5."""
    solved, model, guide, _ = three_levels(wrong=0.5)
    with torch.no_grad():
        guide.encoder.style_log_scale += 0.5
    parent = PARENT + 3 * torch.arange(100).unsqueeze(-1)
    batch = solved.sample(SIZES.repeat(100), parent.flatten(), seed=1)
    evidence = solved.log_evidence(batch)
    counts = [(1, 1), (4, 1), (4, 4)]
    gaps = [evidence - nested_bound(model, guide, batch, *count) for count in counts]
    means, errors = zip(
        *((float(gap.mean()), float(gap.std()) / 300**0.5) for gap in gaps), strict=True
    )
    assert means[0] - means[1] > 4 * (errors[0] + errors[1])
    assert means[1] - means[2] > 4 * (errors[1] + errors[2])
    assert means[2] > -4 * errors[2]


# Gradients.


@both_models
def test_its_gradient_is_that_of_its_value_with_the_draws_held(make):
    """Against central differences, along random directions of all parameters of model and guide."""
    _, model, guide, batch = problem(make, torch.tensor([2, 3]))
    found = list(parameters(model, guide).values())
    gradients = torch.autograd.grad(estimate(model, guide, batch, 3, 4), found)
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in found]
        values = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                for parameter, direction in zip(found, directions, strict=True):
                    parameter += step * direction
            values.append(float(estimate(model, guide, batch, 3, 4).detach()))
        with torch.no_grad():
            for parameter, direction in zip(found, directions, strict=True):
                parameter += 1e-5 * direction
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("parts", ["two levels", "three levels"])
def test_every_parameter_of_model_and_guide_gets_a_gradient(parts):
    if parts == "three levels":
        _, model, guide, batch = three_levels(wrong=0.2)
    else:
        _, model, guide, batch = problem(LinearGaussian.correlated)
    make_estimator("nested-iwae", 3, inner=2).loss_and_grads(model, guide, batch)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in guide.parameters())


# Handlers, programs and surroundings.


def test_masks_count_and_a_scale_is_put_on_the_bound():
    functions, batch = Functions(), small_batch()
    batch.x[-1] = MISSING
    pair = functions.model, functions.guide
    estimator = make_estimator("nested-iwae", 4, inner=3)
    torch.manual_seed(1)
    masked = estimator.loss(*pair, batch)
    torch.manual_seed(1)
    scaled = estimator.loss(*(poutine.scale(program, 0.1) for program in pair), batch)
    assert scaled == pytest.approx(0.1 * masked)
    # The masked observation adds nothing, whatever it is.
    batch.x[-1, 1:] = 7.0
    torch.manual_seed(1)
    assert estimator.loss(*pair, batch) == pytest.approx(masked)
    torch.manual_seed(1)
    group_wise = make_estimator("group-iwae", 4).loss(*pair, batch)
    torch.manual_seed(1)
    assert make_estimator("nested-iwae", 4, inner=1).loss(*pair, batch) == pytest.approx(group_wise)


def test_scales_do_not_count_where_there_is_no_loss():
    _, model, guide, batch = problem(LinearGaussian.correlated)
    scaled = poutine.scale(model, 0.1)
    torch.testing.assert_close(
        nested_bound(scaled, guide, batch, 3, 2), nested_bound(model, guide, batch, 3, 2)
    )


class OneAtATime(nn.Module):
    """A decoder that takes observations only, no particles."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, content, style):
        if content.ndim != 2 or style.ndim != 2:
            raise RuntimeError("this decoder takes [N, content] and [N, style]")
        return self.decoder(content, style)


def test_programs_that_take_no_particles_are_run_draw_by_draw():
    solved, model, guide, batch = problem(LinearGaussian.correlated, by=0.0)
    model.decoder = OneAtATime(model.decoder)
    bound = nested_bound(model, guide, batch, 3, 2)
    torch.testing.assert_close(bound, solved.log_evidence(batch), atol=1e-8, rtol=0)


def test_a_fault_of_the_program_is_not_hidden():
    *_, guide, batch = problem(LinearGaussian.correlated)

    def broken(batch):
        raise RuntimeError("of the user's own")

    with pytest.raises(RuntimeError, match="of the user's own"):
        nested_bound(broken, guide, batch, 2, 2)


def test_a_guide_of_draws_without_gradients_has_a_bound_but_is_not_trained():
    """Content is one of two values, x = content + noise: the evidence sums two densities."""
    batch = GroupedBatch(torch.tensor([[0.3], [0.9], [-0.2]]).double(), torch.tensor([0, 0, 1]), 2)

    def story(batch, observe):
        with pyro.plate("groups", 2, dim=-1):
            content = pyro.sample("content", Categorical(torch.ones(2).double()))
        with pyro.plate("observations", 3, dim=-1):
            style = pyro.sample("style", Normal(batch.x.new_zeros(3), 1e-6))
            if observe:
                loc = content.index_select(-1, batch.group) + style
                pyro.sample("x", Normal(loc.unsqueeze(-1), 0.5).to_event(1), obs=batch.x)

    pair = (lambda batch: story(batch, True)), (lambda batch: story(batch, False))
    density = torch.stack([Normal(c, 0.5).log_prob(batch.x[:, 0]) for c in (0.0, 1.0)])
    of_groups = torch.zeros(2, 2).double().index_add(1, batch.group, density)
    evidence = of_groups.logsumexp(0) - math.log(2)
    torch.testing.assert_close(nested_bound(*pair, batch, 4000, 2), evidence, atol=0.05, rtol=0)
    with pytest.raises(InputError, match="NestedIWAE needs reparameterised draws"):
        make_estimator("nested-iwae").loss(*pair, batch)


def test_the_callers_random_state_store_and_modes_are_left_alone():
    _, model, guide, batch = problem(LinearGaussian.orthogonal)
    guide.train()
    pyro.param("mine", torch.ones(()), constraint=constraints.positive)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = nested_bound(model, guide, batch, 3, 2, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(pyro.get_param_store()) == ["mine"]
    assert guide.training
    assert not first.requires_grad
    assert torch.equal(nested_bound(model, guide, batch, 3, 2, seed=4), first)
    assert not torch.equal(nested_bound(model, guide, batch, 3, 2, seed=5), first)


def test_what_is_decoded_at_once_does_not_grow_with_the_draws(monkeypatch):
    _, model, guide, batch = problem(LinearGaussian.orthogonal)
    rows = []
    handle = model.decoder.register_forward_pre_hook(
        lambda _, inputs: rows.append(math.prod(inputs[1].shape[:-1]))
    )
    for at_once, draws, inner in ((3, 2, 50), (7, 5, 3), (20, 4, 5)):
        monkeypatch.setattr(nested, "_VALUES_AT_ONCE", at_once * batch.x.numel())
        rows.clear()
        nested_bound(model, guide, batch, draws, inner)
        assert max(rows) <= at_once * len(batch)
        # Beside the first look and the trial of two.
        assert sum(rows) == (draws * inner + 3) * len(batch)
    handle.remove()


def test_in_one_pass_each_observation_is_encoded_once():
    _, model, guide, batch = problem(LinearGaussian.orthogonal)
    encoded = []
    guide.encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
    estimate(model, guide, batch, 10, 10)
    assert encoded == [len(batch)]


# Its names and numbers.


@pytest.mark.parametrize(
    ("draws", "inner", "match"),
    [(0, 1, "num_particles must be a positive"), (1, 0, "inner must be a positive")],
)
def test_both_numbers_must_be_positive(draws, inner, match):
    with pytest.raises(InputError, match=match):
        make_estimator("nested-iwae", draws, inner=inner)


@pytest.mark.parametrize(("draws", "inner", "match"), [(0, 1, "draws must"), (1, -1, "inner must")])
def test_so_they_must_of_the_bound(draws, inner, match):
    _, model, guide, batch = problem(LOADINGS["orthogonal"])
    with pytest.raises(InputError, match=match):
        nested_bound(model, guide, batch, draws, inner)


def test_inner_is_refused_of_other_estimators():
    with pytest.raises(
        InputError, match=r"inner is a number of draws of nested-iwae, but .* 'stl'"
    ):
        make_estimator("stl", inner=3)
    assert make_estimator("nested-iwae", 4, inner=3).inner == 3
    assert make_estimator("nested-iwae", 4).num_particles == 4


# In metrics.json.


def metrics_of(batch, solved, **options):
    data = GroupedDataset.from_arrays(batch.x, batch.group)
    pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    return elbo_metrics(
        *pair, data, **{"content_draws": 1, "style_draws": 1, "num_particles": 1} | options
    )


def test_standard_errors_say_how_far_other_groups_might_lie():
    """The mean over 40 sets of 20 groups is the spread of what is found on them."""
    solved = LinearGaussian.orthogonal(dim=5, content_dim=3, style_dim=2)
    sizes = torch.arange(20) % 4 + 1
    found = [metrics_of(solved.sample(sizes, seed=seed), solved) for seed in range(40)]
    bounds = torch.tensor([metrics["nested_iwae_per_observation"] for metrics in found])
    errors = torch.tensor([metrics["nested_iwae_standard_error"] for metrics in found])
    assert float(errors.mean()) == pytest.approx(float(bounds.std()), rel=0.3)
    # With the exact guide the ELBO of each group is its bound.
    for metrics in found:
        assert metrics["standard_error"] == pytest.approx(metrics["nested_iwae_standard_error"])


def test_groups_of_one_size_have_the_standard_error_of_a_mean():
    solved = LinearGaussian.orthogonal(dim=5, content_dim=3, style_dim=2)
    batch = solved.sample(torch.full((12,), 3), seed=1)
    expected = float(solved.log_evidence(batch).std()) / 12**0.5 / 3
    assert metrics_of(batch, solved)["nested_iwae_standard_error"] == pytest.approx(expected)


def test_a_single_group_has_no_standard_error():
    solved = LinearGaussian.orthogonal(dim=5, content_dim=3, style_dim=2)
    found = metrics_of(solved.sample(torch.tensor([4])), solved)
    assert found["standard_error"] is None
    assert found["nested_iwae_standard_error"] is None


def test_the_metrics_say_how_many_draws_there_were():
    solved = LinearGaussian.orthogonal(dim=5, content_dim=3, style_dim=2)
    batch = solved.sample(torch.tensor([4, 2]))
    found = metrics_of(batch, solved, content_draws=3, style_draws=2)
    assert (found["content_draws"], found["style_draws"]) == (3, 2)
    with pytest.raises(InputError, match="style_draws must be a positive whole number"):
        metrics_of(batch, solved, style_draws=0)
