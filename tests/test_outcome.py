"""One sentence for a run of too few steps, or of too many; nothing for others."""

import math
import random

import pytest

from pyro_mlvae.estimators import ElboTerms
from pyro_mlvae.training import EpochRecord, History
from pyro_mlvae.training.outcome import outcome


def history(elbo, *, ended="budget", best=None, every=1):
    records = []
    for epoch, value in enumerate(elbo, start=1):
        terms = ElboTerms(10 * value, {}, 10, 2)
        records.append(
            EpochRecord(epoch, 0.1, 0.0, terms, None if epoch % every else terms, 7 * epoch)
        )
    if best == "yes":
        best = 7 * (max(range(len(elbo)), key=elbo.__getitem__) + 1)
    return History(records, ended=ended, best_steps=best)


def noisy(curve, count=50, noise=0.3, seed=0):
    chance = random.Random(seed)
    return [curve(i / count) + chance.gauss(0.0, noise) for i in range(1, count + 1)]


def rising(part):
    return -40.0 * math.exp(-3 * part)


def settled(part):
    return -40.0 * math.exp(-30 * part)


def overfitting(part):
    return settled(part) - 30.0 * max(0.0, part - 0.4)


def test_a_curve_that_rises_at_the_end_asks_for_more_steps():
    for seed in range(5):
        sentence = outcome(history(noisy(rising, seed=seed), best="yes"))
        assert "still rising when the 350 steps were over" in sentence
        assert "in the last 70: give more with --steps" in sentence
        assert "\n" not in sentence


@pytest.mark.parametrize("best", ["yes", None])
def test_a_settled_curve_says_nothing(best):
    found = [outcome(history(noisy(settled, seed=seed), best=best)) for seed in range(20)]
    assert sum(sentence is not None for sentence in found) <= 2  # chance, at two standard errors


@pytest.mark.parametrize("ended", ["budget", "patience"])
def test_a_curve_that_falls_long_before_the_end_is_overfitting(ended):
    for seed in range(5):
        elbo = noisy(overfitting, seed=seed)
        made = history(elbo, best="yes", ended=ended)
        sentence = outcome(made)
        assert sentence.startswith(
            f"the validation ELBO was best after {made.best_steps} steps and fell by "
        )
        assert "until step 350, which is overfitting" in sentence


def test_where_the_last_weights_are_kept_nothing_is_said_of_better_ones():
    assert outcome(history(noisy(overfitting))) is None


def test_patience_that_ended_a_rise_by_chance_asks_for_nothing():
    assert outcome(history(noisy(rising), ended="patience", best="yes")) is None


def test_small_steps_are_not_worth_a_word():
    assert outcome(history([0.001 * i for i in range(50)], best="yes")) is None


def test_little_is_said_of_little():
    assert outcome(history([])) is None
    assert outcome(history([-5.0], best="yes")) is None
    assert outcome(history([-5.0, -3.0], every=3)) is None
    assert "by 2 nats per observation in the last 7:" in outcome(history([-5.0, -3.0], best="yes"))
