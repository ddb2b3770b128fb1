"""``fit`` stops before it goes wrong, with a sentence that says where and what to try."""

import math
from types import SimpleNamespace

import pyro
import pytest
import torch
from fitting import fit_small, make_pair, small_data, weights
from pyro.optim import Adam
from torch import nn

from pyro_mlvae import GroupSampler, InputError, fit, make_likelihood
from pyro_mlvae.training import DivergedError, fused_adam


class Spoiled(nn.Module):
    """A decoder whose output or gradient is finite only until the call after ``calls``."""

    def __init__(self, decoder, how, calls):
        super().__init__()
        self.decoder, self.how, self.calls = decoder, how, calls

    def forward(self, content, style):
        (loc,) = self.decoder(content, style)
        self.calls -= self.training  # a look before training is no step
        if self.calls >= 0:
            return (loc,)
        # The square root at 0 has a value, but no derivative.
        return (
            {
                "infinite": loc + torch.inf,
                "nan": loc * torch.nan,
                "gradient": loc + (loc * 0).sqrt(),
            }[self.how],
        )


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize(
    ("how", "term"),
    [("nan", "reconstruction"), ("infinite", "reconstruction"), ("gradient", "the gradient")],
)
@pytest.mark.parametrize("validate", [True, False])
def test_training_stops_with_a_sentence_before_the_weights_are_lost(how, term, validate):
    model, guide = make_pair()
    model.decoder = Spoiled(model.decoder, how, calls=3)
    with (
        pyro.validation_enabled(validate),
        pytest.raises(
            DivergedError, match=f"epoch 2, step 2.*{term} is not finite.*smaller learning rate"
        ) as e,
    ):
        fit_small(model, guide)
    assert [record.epoch for record in e.value.history.epochs] == [1]
    assert all(w.isfinite().all() for w in weights(model, guide))


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("validation", [None, small_data().batch()], ids=["no batch", "a batch"])
@pytest.mark.parametrize("validate", [True, False])
def test_a_learning_rate_beyond_reason_is_a_divergence(validate, validation):
    model, guide = make_pair()
    options = {"optimizer": pyro.optim.SGD({"lr": 1e20}), "epochs": 20, "validation": validation}
    with (
        pyro.validation_enabled(validate),
        pytest.raises(DivergedError, match="smaller learning rate"),
    ):
        fit(model, guide, GroupSampler(small_data(), 4), **options)
    assert all(w.isfinite().all() for w in weights(model, guide))


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("validate", [True, False])
def test_an_encoder_that_returns_nan_is_a_divergence(validate):
    model, guide = make_pair()
    guide.encoder.layers.register_forward_hook(lambda module, inputs, output: output * torch.nan)
    with (
        pyro.validation_enabled(validate),
        pytest.raises(DivergedError, match=r"epoch 1, step 1.*not finite"),
    ):
        fit_small(model, guide)


def interrupt(*args):
    raise KeyboardInterrupt


def test_ctrl_c_in_the_callback_keeps_the_epochs_so_far():
    history = fit_small(epochs=5, callback=lambda record: record.epoch == 2 and interrupt())
    assert history.interrupted
    assert [record.epoch for record in history.epochs] == [1, 2]
    assert not fit_small().interrupted


def test_ctrl_c_in_the_middle_of_an_epoch_keeps_the_epochs_before_it():
    sampler = GroupSampler(small_data(), 3)

    class Interrupted:
        def epoch(self, number):
            batches = list(sampler.epoch(number))
            yield batches[0]
            if number == 1:
                interrupt()
            yield batches[1]

    state = torch.get_rng_state()
    pair = make_pair()
    torch.set_rng_state(state)
    history = fit(*pair, Interrupted(), epochs=5)
    assert history.interrupted
    assert [record.epoch for record in history.epochs] == [1]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("step", [0, 1])
def test_x_outside_the_support_is_refused_whenever_it_comes(likelihood, epoch, step):
    good, bad = small_data().batch(), small_data(low=0.5).batch()

    class OneBadBatch:
        def epoch(self, number):
            for i in range(2):
                yield bad if (number, i) == (epoch, step) else good

    pair = make_pair(likelihood=make_likelihood(likelihood))
    with pytest.raises(InputError, match=r"ernoulli likelihood takes x in \[0, 1\].*rescale x"):
        fit(*pair, OneBadBatch(), epochs=2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 0}, "epochs must be a positive whole number, got 0"),
        ({"epochs": -3}, "epochs must be a positive whole number, got -3"),
        ({"epochs": True}, "epochs must be a positive whole number, got True"),
        ({"validate_every": 0}, "validate_every must be a positive whole number"),
        ({"clip_norm": 0.0}, "clip_norm must be positive, or None"),
        ({"clip_norm": -1.0}, "clip_norm must be positive, or None"),
        ({"clip_norm": math.nan}, "clip_norm must be positive, or None"),
    ],
)
def test_arguments_out_of_range_are_refused_before_any_step(options, sentence):
    pair = make_pair()
    before = weights(*pair)
    with pytest.raises(InputError, match=sentence):
        fit_small(*pair, **options)
    assert all(torch.equal(b, a) for b, a in zip(before, weights(*pair), strict=True))


def test_a_sampler_without_minibatches_is_refused():
    class Empty:
        def epoch(self, number):
            return iter(())

    with pytest.raises(InputError, match="sampler"):
        fit(*make_pair(), Empty(), epochs=1)


@pytest.mark.parametrize("make", [fused_adam, lambda lr: Adam({"lr": lr})], ids=["fused", "Pyro's"])
@pytest.mark.parametrize("bad", [2, 3])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_named(make, bad, clip_norm):
    """Also where the answer is read a step late, and where there is no later step."""
    batch, ends = small_data().batch(), []
    for steps in (bad - 1, 3):
        model, guide = make_pair()
        calls = []

        def spoil(gradient, calls=calls):
            calls.append(1)
            return gradient * float("nan") if len(calls) == bad else gradient

        guide.encoder.layers[0].weight.register_hook(spoil)
        sampler = SimpleNamespace(epoch=lambda _, steps=steps: iter([batch] * steps))
        options = {"epochs": 1, "optimizer": make(0.1), "clip_norm": clip_norm}
        if steps == 3:
            said = f"stopped at epoch 1, step {bad}, before the update: the gradient"
            with pytest.raises(DivergedError, match=said):
                fit(model, guide, sampler, **options)
        else:
            fit(model, guide, sampler, **options)
        ends.append(weights(model, guide))
    for ours, theirs in zip(*ends, strict=True):
        assert torch.equal(ours, theirs)
