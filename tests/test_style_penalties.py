"""The style cycle, pair switching and a divergence's target by closed forms or brute force."""

import math
from dataclasses import replace

import pytest
import torch
from estimating import problem
from normals import said_of
from test_penalties import (
    GROUP,
    divergence_of,
    double_pair,
    gradient_of,
    of_styles,
    one_pass,
    small_batch,
)
from test_recorded_steps import PAIRS, assert_a_replay_is_the_eager_step

from pyro_mlvae import VAE, InputError, MultiLevelVAE, VAEGuide
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.penalties import Latents, PairSwitching, StyleCycle, TargetKL, WeightedKL
from pyro_mlvae.penalties.base import risen
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.solved import LinearGaussian
from pyro_mlvae.training import Objective

exactly = {"rtol": 1e-10, "atol": 1e-10}
SIZES = torch.tensor([2, 1, 3])


def cycle(model, guide, batch, particles=1):
    seen = one_pass(model, guide, batch, particles=particles)
    read = lambda x: guide.codes(guide.encode(x), batch.groups)  # noqa: E731
    return Latents(batch, 0, seen.guide, seen.model, decode=model.observation, read=read)


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("make", [LinearGaussian.orthogonal, LinearGaussian.correlated])
def test_the_style_cycle_of_the_solved_model_is_what_content_moves_in_style(make, particles):
    """All is linear: between two decodings x moves by W (C - C'), and style by a matrix of that."""
    torch.manual_seed(0)
    _, model, guide, batch = problem(make, SIZES)
    latents = cycle(model, guide, batch, particles)
    found = StyleCycle(3.0)(latents)
    content = latents.value("content").detach()
    content = content.reshape(-1, *content.shape[-2:])[0]
    moved = (
        content[batch.group] - content[(batch.group + 1) % 3]
    ) @ model.decoder.content_loading.detach().mT
    expert, style = said_of(guide, batch.x)
    alone = expert.variance[0].reciprocal() / (
        1.0 + expert.variance[0].reciprocal()
    )  # the prior shrinks
    read_content = alone * (moved @ guide.encoder.content.weight.mT)
    read_style = moved @ guide.encoder.style.weight.mT - read_content @ guide.shift.mT
    expected = 3.0 * 0.5 * (read_style.square() / style.variance).sum()
    torch.testing.assert_close(found, expected, **exactly)
    torch.testing.assert_close(gradient_of(found, guide), gradient_of(expected, guide), **exactly)
    assert gradient_of(found, guide).abs().max() > 0.01
    assert gradient_of(found, model).abs().max() == 0.0


def test_the_style_cycle_of_the_exact_posterior_costs_nothing_where_style_is_apart_from_content():
    torch.manual_seed(0)
    _, model, guide, batch = problem(LinearGaussian.orthogonal, SIZES, by=0.0)
    assert float(StyleCycle(1.0)(cycle(model, guide, batch)).detach()) < 1e-20


def test_one_group_has_no_say_in_the_style_cycle():
    torch.manual_seed(0)
    _, model, guide, batch = problem(LinearGaussian.correlated, torch.tensor([3]))
    assert float(StyleCycle(1.0)(cycle(model, guide, batch)).detach()) == 0.0


def test_the_style_cycle_of_a_model_that_knows_no_groups_is_refused():
    model, guide = double_pair()
    vae, vae_guide = (
        VAE(model.decoder, model.likelihood, 2, 2).double(),
        VAEGuide(guide.encoder).double(),
    )
    objective = Objective(penalties=[StyleCycle(1.0)])
    with pytest.raises(
        InputError, match="needs one content for each of the 3 groups, got 6: it is of"
    ):
        objective.loss(vae, vae_guide, small_batch())


def test_the_style_cycle_beside_what_cannot_decode_is_refused():
    with pytest.raises(
        InputError, match=r"^the style cycle needs a model that decodes and a guide"
    ):
        StyleCycle(1.0)(of_styles(torch.randn(6, 2), GROUP))


def test_the_objective_decodes_and_reads_by_the_pair_itself():
    torch.manual_seed(0)
    _, model, guide, batch = problem(LinearGaussian.correlated, SIZES)
    objective = Objective(make_estimator("mean-field"), penalties=[StyleCycle(2.0)])
    torch.manual_seed(5)
    objective.loss(model, guide, batch)
    torch.manual_seed(5)
    expected = StyleCycle(2.0)(cycle(model, guide, batch))
    assert float(objective.penalised["the penalty StyleCycle"]) == pytest.approx(
        float(expected.detach())
    )


def brute_switching(loc, group, temperature):
    total = 0.0
    for i in range(len(loc)):
        of_all = of_others = 0.0
        for j in range(len(loc)):
            if i != j:
                cosine = (loc[i] @ loc[j]) / loc[i].norm() / loc[j].norm()
                of_all = of_all + (cosine / temperature).exp()
                of_others = of_others + (cosine / temperature).exp() * (group[i] != group[j])
        total = total - (of_others / of_all).log()
    return total


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_pair_switching_is_the_chance_of_a_neighbour_of_another_group(temperature):
    loc = torch.randn(6, 2).double().requires_grad_()
    found = PairSwitching(3.0, temperature)(of_styles(loc, GROUP))
    expected = 3.0 * brute_switching(loc, GROUP, temperature)
    torch.testing.assert_close(found, expected, **exactly)
    gradients = (torch.autograd.grad(value, loc)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients, **exactly)


def test_of_pair_switching_groups_of_one_and_one_group_have_no_say():
    loc = torch.randn(3, 2).double().requires_grad_()
    value = PairSwitching(1.0)(of_styles(loc, torch.tensor([0, 0, 0])))
    assert value.item() == 0.0
    assert PairSwitching(1.0)(of_styles(loc[:1], torch.tensor([0]))).item() == 0.0
    alone = brute_switching(loc, torch.tensor([0, 0, 1]), 0.1)
    torch.testing.assert_close(
        PairSwitching(1.0)(of_styles(loc, torch.tensor([0, 0, 1]))), alone, **exactly
    )


def test_styles_of_zero_have_a_gradient():
    loc = torch.zeros(6, 2).requires_grad_()
    value = PairSwitching(1.0)(of_styles(loc, GROUP))
    assert value.isfinite()
    assert torch.autograd.grad(value, loc)[0].isfinite().all()


def test_pair_switching_without_a_pair_is_refused():
    sentence = (
        r"^pair switching needs two observations of a group, but each of the minibatch's 4 groups "
        r"has one: take more observations of a group, or leave this penalty out$"
    )
    with pytest.raises(InputError, match=sentence):
        PairSwitching(1.0)(of_styles(torch.randn(4, 2), torch.arange(4)))


@pytest.mark.parametrize("site", ["content", "style"])
@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("above", [True, False])
def test_a_target_takes_the_place_of_the_divergence_by_its_distance_from_it(site, particles, above):
    (model, guide), batch = double_pair(conditional=True), small_batch()
    latents = one_pass(model, guide, batch, step=3, particles=particles)
    own = divergence_of(guide, batch, site, latents).sum((-1, -2)).mean()
    members = len(batch) if site == "style" else batch.num_groups
    target = float((own.detach() / members).float()) * (0.5 if above else 1.5)
    target = float(torch.tensor(target))  # what a step's float32 holds
    whole = own + TargetKL(site, 2.0 * target, 4.0, warmup_steps=6)(latents)  # half of it at step 3
    expected = 4.0 * (own - members * target) * (1.0 if above else -1.0)
    torch.testing.assert_close(whole, expected, **exactly)
    torch.testing.assert_close(gradient_of(whole, guide), gradient_of(expected, guide), **exactly)


def test_a_target_rises_and_then_stays():
    assert [float(risen(step, 4)) for step in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert float(risen(0, 0)) == 1.0


@pytest.mark.parametrize("bad", [-1.0, math.nan, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (StyleCycle, "weight"),
        (PairSwitching, "weight"),
        (lambda bad: TargetKL("style", bad), "target"),
        (lambda bad: TargetKL("style", 1.0, bad), "weight"),
    ],
)
def test_numbers_out_of_range_are_refused(make, name, bad):
    with pytest.raises(
        InputError, match=f"^{name} must be a finite number of at least 0, got {bad}$"
    ):
        make(bad)


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(InputError, match=r"^temperature must be positive and finite, got 0\.0$"):
        PairSwitching(1.0, 0.0)


def test_a_recorded_step_has_the_same_penalties():
    penalties = [StyleCycle(1.0), PairSwitching(2.0), TargetKL("style", 1.0, warmup_steps=4)]
    assert_a_replay_is_the_eager_step(PAIRS["style sees content"], "trace 1", penalties)


def test_options_of_a_run_make_the_penalties_and_a_plain_vae_has_none():
    config = RunConfig(
        target_style=6.0,
        warmup_steps=9,
        style_cycle=1.0,
        pair_switching=2.0,
        evidence="random-part",
    )
    assert config.penalties() == [
        WeightedKL("content", warmup_steps=9),
        TargetKL("style", 6.0, 10.0, 9),
        StyleCycle(1.0),
        PairSwitching(2.0),
    ]
    _, guide = replace(config, hidden=(8,)).build((5,))
    assert guide.random_part
    plain = config.plain_vae()
    assert plain.penalties() == []
    assert plain.evidence == "whole"


def test_options_that_do_not_go_together_or_are_unknown_are_refused():
    with pytest.raises(
        InputError, match=r"^target_style takes the place of beta_style and free_bits_style"
    ):
        RunConfig(target_style=6.0, beta_style=2.0)
    with pytest.raises(InputError, match=r"unknown evidence 'half'"):
        RunConfig(evidence="half")


def test_the_estimator_takes_them():
    x, groups = torch.rand(24, 5).numpy(), [0, 1, 2, 3] * 6
    options = {"evidence": "random-part", "style_cycle": 1.0, "target_style": 1.0, "epochs": 1}
    model = MultiLevelVAE(4, 2, hidden=(8,), random_state=0, **options).fit(x, groups=groups)
    assert model.guide_.random_part
    assert model.transform(x).shape == (24, 6)
