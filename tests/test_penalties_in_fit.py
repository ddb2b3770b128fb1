"""Penalties in ``fit``: under the objective's scale, beside any estimator, not in the ELBO."""

import math

import pyro
import pytest
import torch
from fitting import Steps, fit_small, make_pair, weights
from normals import as_normal, codes_of, posterior_of
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceGraph_ELBO

from pyro_mlvae import VAE, GroupedBatch, InputError, StyleGivenContent, VAEGuide, fit
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.estimators import ESTIMATORS, make_estimator
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.models import MixturePriorMLVAE, ThreeLevelMLVAE
from pyro_mlvae.penalties import HSIC, AggregateStyle, Latents, Penalty, WeightedKL
from pyro_mlvae.training import DivergedError, Objective

GROUP = torch.tensor([0, 1, 2, 0, 1, 0, 2])
exactly = {"rtol": 1e-8, "atol": 1e-10}
BATCH = GroupedBatch(
    torch.rand(7, 5, generator=torch.Generator().manual_seed(3)).double(), GROUP, 3
)


def double_pair(conditional=False):
    model, guide = make_pair()
    if conditional:
        guide.style_given_content = StyleGivenContent(2, 2, hidden=(4,))
    return model.double(), guide.double()


def gradient(penalties, estimator=None, pair=None, steps=1, **options):
    """What the last of so many steps of SGD takes off the weights, by module, and the history."""
    model, guide = pair or double_pair()
    found = []

    class Watched(pyro.optim.PyroOptim):
        def __call__(self, params, *args, **kwargs):
            found[:] = [p.grad.clone() if p.grad is not None else torch.zeros_like(p)
                        for module in (model, guide) for p in module.parameters()]  # fmt: skip
            super().__call__(params, *args, **kwargs)

    still = Watched(torch.optim.SGD, {"lr": 0.0})
    history = fit(
        model, guide, Steps(BATCH, steps), epochs=1, estimator=estimator, optimizer=still,
        penalties=penalties, **options,
    )  # fmt: skip
    return torch.cat([g.flatten() for g in found]), history


def own_gradient(value, pair):
    parameters = [p for module in pair for p in module.parameters()]
    found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def by_itself(penalty, pair):
    """The penalty of a pass of its own, under the scale; of a closed form, draws do not matter."""
    model, guide = pair
    drawn = poutine.trace(guide).get_trace(BATCH)
    of_model = poutine.trace(poutine.replay(model, drawn)).get_trace(BATCH)
    return penalty(Latents(BATCH, 0, drawn, of_model, lambda: codes_of(guide, BATCH))) / 3


@pytest.mark.parametrize(
    ("penalties", "estimator"),
    [([], None), ((), None), ((), "mean-field"), ([], "stl"), ([], "graph"), ((), "renyi")],
)
def test_no_penalties_are_bit_for_bit_no_argument(penalties, estimator):
    results = []
    for options in ({}, {"penalties": penalties}):
        made = estimator and make_estimator(estimator, 2)
        pair = make_pair()
        history = fit_small(*pair, estimator=made, **options)
        results.append((weights(*pair), [record.objective for record in history.epochs]))
    (first, objectives), (second, again) = results
    assert objectives == again
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_one_step_of_sgd_is_that_of_a_hand_written_computation():
    """Penalties compose: the gradient is the ELBO's less the sum of theirs, over the groups."""
    penalties = [
        WeightedKL("content", 3.0),
        AggregateStyle(2.0),
        HSIC(5.0),
        WeightedKL("style", 0.5),
    ]
    pair = double_pair()
    before = torch.cat([w.flatten() for w in weights(*pair)])
    torch.manual_seed(mixed_seed(0, 1))
    loss = Trace_ELBO().differentiable_loss(*pair, BATCH) / 3
    for penalty in penalties:
        loss = loss + by_itself(penalty, pair)
    expected = before - 0.01 * own_gradient(loss, pair)
    optimizer = pyro.optim.SGD({"lr": 0.01})
    history = fit(*pair, Steps(BATCH), epochs=1, optimizer=optimizer, penalties=penalties)
    torch.testing.assert_close(
        torch.cat([w.flatten() for w in weights(*pair)]), expected, **exactly
    )
    assert history.epochs[0].objective == pytest.approx(-loss.item(), rel=1e-6)


PENALTIES = [HSIC(5.0), AggregateStyle(2.0), WeightedKL("style", 3.0), WeightedKL("content", 3.0),
             WeightedKL("style", 2.0, free_bits=0.02)]  # fmt: skip
PARTICLES = {
    "one": {},
    "in-turn": {"num_particles": 3, "max_plate_nesting": 1},
    "vectorised": {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 1},
    "counted": {"num_particles": 3, "vectorize_particles": True},
}
DIFFERENTIABLE = sorted(set(ESTIMATORS) - {"graph", "renyi"})
CASES = [(name, kind) for name in DIFFERENTIABLE for kind in ("one", "in-turn", "vectorised")]
CASES += [("trace", "counted"), ("dreg", "counted")]


@pytest.mark.parametrize(("name", "particles"), CASES)
def test_beside_any_estimator_the_encoder_gets_the_penalties_own_gradient(name, particles):
    alone, without = gradient([], ESTIMATORS[name](**PARTICLES[particles]))
    encoder = slice(-sum(p.numel() for p in double_pair()[1].parameters()), None)
    penalties = PENALTIES[:2] if name == "local" else PENALTIES
    together, history = gradient(penalties, ESTIMATORS[name](**PARTICLES[particles]))
    pair, total, expected = double_pair(), 0.0, 0.0
    for penalty in penalties:
        value = by_itself(penalty, pair)
        own = own_gradient(value, pair)
        assert own[encoder].abs().max() > 1e-3
        total, expected = total + value.item(), expected + own
    torch.testing.assert_close(together - alone, expected, **exactly)
    # What is reported of the ELBO is as if there were none; the objective is not.
    assert history.epochs[0].terms == without.epochs[0].terms
    taken_off = without.epochs[0].objective - history.epochs[0].objective
    assert taken_off == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("name", ["trace", "stl", "dreg"])
@pytest.mark.parametrize("vectorised", [True, False])
def test_where_style_depends_on_content_the_penalty_is_that_of_the_very_draws(name, vectorised):
    """And its mean over them, particles in turn or at once."""
    options = {"num_particles": 3, "vectorize_particles": vectorised, "max_plate_nesting": 1}
    seen = []

    class Seen(WeightedKL):
        def __call__(self, latents):
            content = latents.value("content").detach()
            seen.extend(content.unbind() if vectorised else [content])
            return super().__call__(latents)

    alone, _ = gradient([], ESTIMATORS[name](**options), double_pair(conditional=True))
    pair = double_pair(conditional=True)
    together, _ = gradient([Seen("style", 3.0)], ESTIMATORS[name](**options), pair)
    assert len(seen) == 3
    _, guide = pair
    posterior = posterior_of(guide, BATCH)
    expected = 0.0
    for content in seen:
        noise = ((content - posterior.loc) / posterior.scale).detach()
        drawn = posterior.loc + noise * posterior.scale
        own = drawn.index_select(-2, GROUP)
        style = as_normal(guide.style_posterior(guide.encode(BATCH.x), own))
        divergence = 0.5 * (style.loc**2 + style.variance - 1 - style.variance.log()).sum()
        expected = expected + 2.0 * divergence / 3 / 3
    torch.testing.assert_close(together - alone, own_gradient(expected, pair), **exactly)


def test_the_terms_are_the_elbos_of_the_very_draw():
    pair = double_pair(conditional=True)
    torch.manual_seed(mixed_seed(4, 1))
    drawn = poutine.trace(pair[1]).get_trace(BATCH)
    of_model = poutine.trace(poutine.replay(pair[0], drawn)).get_trace(BATCH)
    _, history = gradient([WeightedKL("style", 9.0), HSIC(50.0)], pair=pair, seed=4)
    terms = history.epochs[0].terms
    p, q = of_model.nodes, drawn.nodes
    log = {
        (kind, site): nodes[site]["fn"].log_prob(nodes[site]["value"]).sum().item()
        for kind, nodes in (("p", p), ("q", q))
        for site in ("content", "style", "x")
        if site in nodes
    }
    assert terms.reconstruction == pytest.approx(log["p", "x"], rel=1e-10)
    for site in ("content", "style"):
        assert terms.kl[site] == pytest.approx(log["q", site] - log["p", site], rel=1e-10)
    assert abs(history.epochs[0].objective - terms.elbo / 3) > 1.0


def test_beta_takes_the_place_of_the_elbos_own_weight():
    """The mean-field divergence is in closed form, so at beta 0 it is gone, draw by draw."""
    pair = double_pair()
    found, _ = gradient(
        [WeightedKL("style", 0.0), WeightedKL("content", 0.0)], make_estimator("mean-field")
    )
    torch.manual_seed(mixed_seed(0, 1))
    drawn = poutine.trace(pair[1]).get_trace(BATCH)
    x = poutine.trace(poutine.replay(pair[0], drawn)).get_trace(BATCH).nodes["x"]
    torch.testing.assert_close(
        found, own_gradient(-x["fn"].log_prob(x["value"]).sum() / 3, pair), **exactly
    )


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_warm_up_counts_steps_from_0_across_epochs(epochs):
    steps, each = [], []

    class Watched(Penalty):
        def __call__(self, latents):
            steps.append(latents.step)
            each.append(latents.batch)
            return latents.value("content").sum()

    fit(*double_pair(), Steps(BATCH, 6 // epochs), epochs=epochs, penalties=[Watched(), HSIC(1.0)])
    assert steps == list(range(6))
    assert len(each) == 6

    def weight(number):
        at, _ = gradient([WeightedKL("style", 4.0, warmup_steps=4)], steps=number)
        return at - gradient([], steps=number)[0]

    pair = double_pair()
    one = own_gradient(by_itself(WeightedKL("style", 2.0), pair), pair)
    for number, expected in [(1, -1.0), (3, 1.0), (5, 3.0), (6, 3.0)]:
        torch.testing.assert_close(weight(number), expected * one, **exactly)


class Narrow(Penalty):
    def __call__(self, latents):
        return -3.0 * latents.posterior("style").base_dist.scale.log().sum()


def test_a_penalty_of_three_lines_works():
    pair = double_pair()
    found, history = gradient([Narrow()])
    expected = own_gradient(-codes_of(pair[1], BATCH)[1].scale.log().sum(), pair)
    torch.testing.assert_close(found - gradient([])[0], expected, **exactly)
    assert math.isfinite(history.epochs[0].objective)


@pytest.mark.parametrize("name", ["trace", "mean-field", "group-iwae"])
@pytest.mark.parametrize("conditional", [False, True])
def test_nothing_is_encoded_twice_for_the_codes(name, conditional):
    pair = double_pair(conditional)
    calls = []
    # In train mode: what fit looks at before the first step is no step.
    pair[1].encoder.register_forward_hook(
        lambda *call: calls.append(call) if call[0].training else None
    )
    gradient([HSIC(1.0), AggregateStyle(1.0)], make_estimator(name), pair, steps=4)
    assert len(calls) == 4
    assert len(pair[1].encoder._forward_hooks) == 1


def test_the_codes_are_those_of_test_time_where_style_depends_on_content():
    pair = double_pair(conditional=True)
    found, _ = gradient([AggregateStyle(2.0)], pair=pair)
    alone, _ = gradient([], pair=double_pair(conditional=True))
    _, style = codes_of(pair[1], BATCH)
    loc = torch.stack([style.loc[g == GROUP].mean(0) for g in range(3)])
    square = torch.stack([(style.variance + style.loc**2)[g == GROUP].mean(0) for g in range(3)])
    variance = square - loc**2
    divergence = 0.5 * (square - 1.0 - variance.log())
    expected = 2.0 * (divergence * BATCH.sizes[:, None]).sum() / 3
    torch.testing.assert_close(found - alone, own_gradient(expected, pair), **exactly)


@pytest.mark.parametrize("kind", ["vae", "three levels", "mixture"])
def test_other_pairs_train_with_all_the_penalties(kind):
    model, guide = make_pair()
    batch = BATCH
    penalties = [HSIC(1.0), AggregateStyle(1.0), WeightedKL("style", 2.0, free_bits=0.1),
                 WeightedKL("content", 2.0)]  # fmt: skip
    if kind == "vae":
        model, guide = VAE(model.decoder, model.likelihood, 2, 2), VAEGuide(guide.encoder)
    elif kind == "mixture":
        model = MixturePriorMLVAE(model.decoder, model.likelihood, 2, 2, components=3)
    else:
        model = ThreeLevelMLVAE(model.decoder, model.likelihood, 2, 2)
        guide = ThreeLevelGuide(guide.encoder)
        penalties.append(WeightedKL("super_content", 2.0))
        batch = GroupedBatch(BATCH.x, GROUP, 3, torch.tensor([0, 0, 1]), 2)
    model, guide = model.double(), guide.double()
    before = weights(model, guide)
    history = fit(model, guide, Steps(batch, 3), epochs=2, penalties=penalties)
    assert math.isfinite(history.epochs[-1].objective)
    assert all(not torch.equal(b, a) for b, a in zip(before, weights(model, guide), strict=True))


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("name", ["trace", "stl"])
def test_a_trial_run_by_which_plates_are_counted_is_no_pass(name, validate):
    passes = []

    class Count(Penalty):
        def __call__(self, latents):
            passes.append(latents.value("content").shape)
            return 0.0 * latents.value("content").sum()

    counted, told = ({"num_particles": 2, "vectorize_particles": True} | more
                     for more in ({}, {"max_plate_nesting": 1}))  # fmt: skip
    with pyro.validation_enabled(validate):
        histories = [
            gradient([Count()], ESTIMATORS[name](**options))[1] for options in (counted, told)
        ]
    assert passes == [(2, 3, 2)] * 2
    assert histories[0].epochs[0].terms.groups == 3


class Bad(WeightedKL):
    """Well for so many steps, and then NaN."""

    def __call__(self, latents):
        value = super().__call__(latents)
        return value * math.nan if self.site == "content" and latents.step == 4 else value


@pytest.mark.parametrize(
    "other", [[], [Bad("style")], [HSIC(1.0)]], ids=["alone", "of a kind", "hsic"]
)
def test_nan_from_a_penalty_stops_training_before_the_update_and_is_named(other):
    pair = double_pair()
    optimizer = pyro.optim.SGD({"lr": 1e-3})
    with pytest.raises(
        DivergedError, match=r"at epoch 2, step 2, before the update: the penalty Bad is not finite"
    ) as error:
        fit(
            *pair,
            Steps(BATCH, 3),
            epochs=3,
            penalties=[Bad("content", 2.0), *other],
            optimizer=optimizer,
        )
    assert len(error.value.history.epochs) == 1
    assert all(w.isfinite().all() for w in weights(*pair))


@pytest.mark.parametrize("name", ["graph", "renyi"])
@pytest.mark.parametrize("penalty", [HSIC(1.0), WeightedKL("style")], ids=["hsic", "kl"])
def test_estimators_without_a_differentiable_loss_are_refused(name, penalty):
    estimator = make_estimator(name, 2)
    sentence = (
        f"^penalties need an estimator with a differentiable_loss, which "
        f"{type(estimator).__name__} has not: use another, such as 'trace'$"
    )
    pair = double_pair()
    before = weights(*pair)
    with pytest.raises(InputError, match=sentence):
        gradient([penalty], estimator, pair)
    assert all(torch.equal(b, a) for b, a in zip(before, weights(*pair), strict=True))
    assert type(make_estimator("graph")) is TraceGraph_ELBO


@pytest.mark.parametrize("site", ["content", "style"])
def test_a_divergence_beside_local_is_that_of_the_minibatch(site):
    pair, penalty = double_pair(), WeightedKL(site, 3.0)
    expected = own_gradient(by_itself(penalty, pair), pair)
    alone, _ = gradient([], make_estimator("local"), pair)
    both, _ = gradient([penalty], make_estimator("local"), pair)
    torch.testing.assert_close(both - alone, expected, **exactly)


@pytest.mark.parametrize("penalty", [HSIC(1.0), AggregateStyle(1.0)], ids=["hsic", "aggregate"])
def test_a_guide_without_codes_is_refused(penalty):
    model, guide = double_pair()

    def function(batch):
        pyro.module("encoder", guide.encoder)
        return guide(batch)

    sentence = (
        "^a penalty on codes needs a guide that has them: derive the guide from GroupedGuide$"
    )
    with pytest.raises(InputError, match=sentence):
        fit(model, function, Steps(BATCH), epochs=1, penalties=[penalty])
    # What needs none of them works.
    fit(
        model,
        function,
        Steps(BATCH),
        epochs=1,
        penalties=[WeightedKL("style", 2.0)],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("wrong", [HSIC(1.0), [HSIC(1.0), abs]])
def test_what_is_no_list_of_penalties_is_refused(wrong):
    with pytest.raises(InputError, match="penalties must be a list of Penalty, got"):
        Objective.__init__.__wrapped__(object.__new__(Objective), penalties=wrong)
