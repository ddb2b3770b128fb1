"""Budgets in steps, patience, and the best weights: kept, given back, found after a kill."""

import math
from functools import cache

import pyro
import pyro.distributions as dist
import pytest
import torch
from fitting import Stopped, Stopping, fit_small, make_pair, small_data, weights

from pyro_mlvae import GroupSampler, InputError, fit
from pyro_mlvae.penalties import HSIC, WeightedKL
from pyro_mlvae.training import Checkpoint, DivergedError, elbo_terms

# Two minibatches an epoch; the learning rate is large, so that the validation ELBO goes up and
# down.
SAMPLER = GroupSampler(small_data(), 2, 4, seed=3)
VALIDATION = small_data(low=0.3).batch()
QUIET = {"seconds": None}


def trained(checkpoint=None, pair=None, **options):
    pair = pair or make_pair()
    optimizer = pyro.optim.Adam({"lr": 0.1})
    options = {"validation": VALIDATION, "patience": 3, "checkpoint": checkpoint, **options}
    return fit(*pair, SAMPLER, optimizer=optimizer, **options), pair


def state(pair):
    return [t.clone() for module in pair for t in module.state_dict().values()]


def assert_same(first, second):
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def rows(history):
    return [row | QUIET for row in history.rows()]


@pytest.mark.parametrize("budget", [{}, {"epochs": 2, "steps": 5}, {"steps": 0}, {"epochs": 0}])
def test_a_budget_is_one_positive_number(budget):
    expected = r"takes one budget, epochs or steps, got|must be a positive whole number"
    with pytest.raises(InputError, match=expected):
        fit_small(**{"epochs": None, **budget})


@pytest.mark.parametrize("patience", [0, -1])
def test_patience_is_a_positive_number(patience):
    with pytest.raises(InputError, match="patience must be a positive whole number"):
        trained(epochs=2, patience=patience)


def test_patience_needs_a_validation_batch():
    with pytest.raises(InputError, match="give it validation"):
        fit_small(patience=2)


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
def test_so_many_steps_are_made_and_the_last_epoch_is_cut(steps):
    seen = []
    optimizer = pyro.optim.Adam({"lr": 0.01})
    call = type(optimizer).__call__
    optimizer.__class__ = type(
        "Counted", (type(optimizer),), {"__call__": lambda *a: (seen.append(1), call(*a))}
    )
    history = fit(
        *make_pair(),
        SAMPLER,
        steps=steps,
        validation=VALIDATION,
        validate_every=9,
        optimizer=optimizer,
    )
    assert len(seen) == steps
    assert history.ended == "budget"
    assert [record.steps for record in history.epochs] == [*range(2, steps, 2), steps]
    assert history.epochs[-1].terms.groups == (2 if steps % 2 else 4)
    # Measured where training ended.
    assert [record.validation is not None for record in history.epochs] == [False] * (
        (steps - 1) // 2
    ) + [True]


def test_whole_epochs_of_steps_are_the_same_as_epochs():
    (first, pair), (second, again) = trained(epochs=3), trained(steps=6)
    assert_same(weights(*pair), weights(*again))
    assert rows(first) == rows(second)


def test_the_best_weights_are_given_back_and_patience_ends_training():
    history, pair = trained(epochs=200)
    elbo = [record.validation.elbo for record in history.epochs]
    best = max(range(len(elbo)), key=elbo.__getitem__)
    assert history.ended == "patience"
    assert not history.interrupted
    assert 0 < best == len(elbo) - 1 - 3
    assert history.best_steps == history.epochs[best].steps
    assert float(elbo_terms(*pair, VALIDATION).elbo) == elbo[best]
    # Those are the weights of a run that ends there.
    straight, same = trained(epochs=best + 1, patience=None)
    assert_same(weights(*same), weights(*pair))
    assert straight.best_steps is None


def test_without_patience_the_last_weights_stay():
    history, pair = trained(epochs=6, patience=None)
    assert float(elbo_terms(*pair, VALIDATION).elbo) == history.epochs[-1].validation.elbo
    assert history.ended == "budget"


def test_patience_counts_measurements_and_not_epochs():
    history, _ = trained(epochs=200, patience=2, validate_every=4)
    measured = [record for record in history.epochs if record.validation is not None]
    best = max(measured, key=lambda record: record.validation.elbo)
    assert history.ended == "patience"
    assert history.epochs[-1].epoch == best.epoch + 8


def test_where_the_budget_ends_first_the_best_weights_are_given_back_too():
    history, pair = trained(epochs=15, patience=100)
    assert history.ended == "budget"
    assert history.best_steps < history.epochs[-1].steps
    best = max(record.validation.elbo for record in history.epochs)
    assert float(elbo_terms(*pair, VALIDATION).elbo) == best


def test_ctrl_c_gives_the_best_weights_so_far():
    def interrupt(record):
        if record.epoch == 15:
            raise KeyboardInterrupt

    history, pair = trained(epochs=99, patience=99, callback=interrupt)
    assert history.ended == "interrupted"
    assert history.interrupted
    best = max(record.validation.elbo for record in history.epochs)
    assert float(elbo_terms(*pair, VALIDATION).elbo) == best > history.epochs[-1].validation.elbo


def test_buffers_belong_to_the_best_weights():
    def counting():
        model, guide = make_pair()
        guide.encoder.register_buffer("calls", torch.zeros(()))

        def count(module, _):
            module.calls += module.training

        guide.encoder.register_forward_pre_hook(count)
        return model, guide

    history, (_, guide) = trained(epochs=200, pair=counting(), capture="off")
    assert history.ended == "patience"
    assert int(guide.encoder.calls) == history.best_steps < history.epochs[-1].steps


def test_what_functions_keep_in_the_store_is_given_back_as_well():
    def model(batch):
        loc = pyro.param("loc", torch.zeros(5))
        with pyro.plate("observations", len(batch)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=batch.x)

    def guide(batch):
        pass

    optimizer = pyro.optim.SGD({"lr": 0.3})  # far too large: the first measurement is the best
    history = fit(
        model, guide, SAMPLER, epochs=9, optimizer=optimizer, validation=VALIDATION, patience=2
    )
    best = max(record.validation.elbo for record in history.epochs)
    assert history.ended == "patience"
    assert float(elbo_terms(model, guide, VALIDATION).elbo) == best


def test_with_penalties_the_best_weights_are_those_of_the_objective():
    penalty = WeightedKL("style", beta=300.0, warmup_steps=40)
    history, _ = trained(epochs=20, patience=50, penalties=[penalty])
    measured = [record.validation for record in history.epochs]
    elbo = [terms.elbo for terms in measured]
    # From the first epoch on at the weight that penalties have after the warm-up.
    objective = [terms.elbo - 299.0 * terms.kl["style"] for terms in measured]
    best = objective.index(max(objective))
    assert history.best_steps == history.epochs[best].steps
    assert best != elbo.index(max(elbo))


def test_a_penalty_on_codes_is_measured_too():
    history, _ = trained(epochs=12, patience=50, penalties=[HSIC(200.0)])
    elbo = [record.validation.elbo for record in history.epochs]
    assert history.best_steps != history.epochs[elbo.index(max(elbo))].steps


def test_a_warm_up_does_not_move_the_measure():
    """The same weights, measured early and late, are worth the same."""
    penalties = [WeightedKL("style", beta=9.0, warmup_steps=3)]
    still = {"optimizer": pyro.optim.SGD({"lr": 0.0}), "validation": VALIDATION, "patience": 2}
    history = fit(*make_pair(), SAMPLER, epochs=9, penalties=penalties, **still)
    assert history.best_steps == 2
    assert len(history.epochs) == 3


def test_a_penalty_that_is_not_finite_on_the_validation_batch_is_a_divergence():
    class Odd(WeightedKL):
        def __call__(self, latents):
            return super().__call__(latents) * (1.0 if math.isfinite(latents.step) else torch.nan)

    with pytest.raises(
        DivergedError, match=r"the validation after epoch 1: the penalty Odd is not finite"
    ):
        trained(epochs=2, penalties=[Odd("style", 2.0)])


BUDGETS = {"epochs": {"epochs": 60}, "steps": {"steps": 13, "patience": 9, "validate_every": 2}}


def assert_same_run(first, second):
    (whole, pair), (resumed, again) = first, second
    assert_same(state(pair), state(again))
    assert rows(whole) == rows(resumed)
    assert (whole.ended, whole.best_steps) == (resumed.ended, resumed.best_steps)


@cache
def uninterrupted(budget):
    return trained(**BUDGETS[budget])


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("after", [1, 2, 3, 8, 12, 13])
def test_stopped_after_any_step_a_run_ends_with_the_same_best_weights(budget, after, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(Stopping(path, after), **BUDGETS[budget])
    assert_same_run(uninterrupted(budget), trained(Checkpoint(path), **BUDGETS[budget]))


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_finished_run_ends_the_same_again_without_a_step(budget, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    first = trained(Checkpoint(path), **BUDGETS[budget])
    written = path.read_bytes()
    assert_same_run(first, trained(Checkpoint(path), **BUDGETS[budget]))
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"steps": 5}, {"steps": 40}),
        ({"steps": 6, "validate_every": 2}, {"steps": 40, "validate_every": 2}),
        ({"epochs": 3, "validate_every": 2}, {"epochs": 9, "validate_every": 2}),
        ({"epochs": 99, "patience": 1}, {"epochs": 99, "patience": 6}),
    ],
)
def test_a_finished_run_goes_on_for_more_as_if_it_had_never_ended(first, then, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    trained(Checkpoint(path), **first)
    assert_same_run(trained(**then), trained(Checkpoint(path), **then))
