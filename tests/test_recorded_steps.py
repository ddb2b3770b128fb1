"""Steps recorded as graphs: loss, terms, gradient and weights are those of eager steps."""

import pyro
import pytest
import torch
from fitting import make_pair, small_data
from pyro.infer import SVI

from pyro_mlvae import (
    MLVAE,
    ConvDecoder,
    ConvEncoder,
    GroupedBatch,
    GroupSampler,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
    fit,
    make_estimator,
)
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.models import MixturePriorMLVAE, ThreeLevelMLVAE
from pyro_mlvae.penalties import HSIC, WeightedKL
from pyro_mlvae.training import Captured, Objective, capture, fused_adam

GROUP = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
PARENT = torch.tensor([0, 1, 1])


def mlp(model=MLVAE, guide=ProductOfNormals, **options):
    return (
        model(MLPDecoder((5,), 2, 2, hidden=(8,)), NormalLikelihood(), 2, 2),
        guide(MLPEncoder((5,), 2, 2, hidden=(8,)), **options),
        torch.rand(8, 5),
    )


def convolutions():
    shape = (1, 16, 16)
    return (
        MLVAE(ConvDecoder(shape, 2, 2, channels=(4,), hidden=(8,)), NormalLikelihood(), 2, 2),
        ProductOfNormals(ConvEncoder(shape, 2, 2, channels=(4,), hidden=(8,))),
        torch.rand(8, *shape),
    )


PAIRS = {
    "mlp": mlp,
    "style sees content": lambda: mlp(style_given_content=StyleGivenContent(2, 2, hidden=(8,))),
    "mixture prior": lambda: mlp(MixturePriorMLVAE),
    "three levels": lambda: mlp(ThreeLevelMLVAE, ThreeLevelGuide),
    "convolutions": convolutions,
}
# With penalties: every kind of estimator on the plainest pair, and on each other pair those whose
# sites or divergences it changes.
PENALISED = [(pair, name) for pair, names in {
    "mlp": [
        "trace 1",
        "mean-field 1",
        "group-iwae 2",
        "group-renyi 2",
        "dreg 4",
        "stl 1",
        "local 1",
    ],
    "style sees content": ["trace 1", "mean-field 1", "dreg 4", "local 1"],
    "mixture prior": ["mean-field 1", "dreg 4"],
    "three levels": ["mean-field 1", "group-renyi 2", "dreg 4", "local 1"],
    "convolutions": ["trace 1", "stl 1"],
}.items() for name in names]  # fmt: skip
# Without, in double precision; the last ones to the last bit.
BIT_EQUAL = ["miwae 4", "piwae 4", "ciwae 4", "rws 4"]
PLAIN = ["trace 1", "trace 3", "dreg 1", "local 2", "nested-iwae 1", "nested-iwae 2", *BIT_EQUAL]


def steps_of(make, estimator, penalties, dtype, recorded):
    """Loss, terms and gradients of two steps, of which the last is a replay if recorded."""
    torch.manual_seed(0)
    model, guide, x = make()
    model, guide = model.to(dtype), guide.to(dtype)
    batch = GroupedBatch(x.to(dtype), GROUP, 3, PARENT, 2)
    name, particles = estimator.split()
    objective = Objective(make_estimator(name, int(particles)), penalties=penalties)
    loss = Captured(objective, after=0) if recorded else objective
    found = []
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for _ in range(2):
            value = loss.loss_and_grads(model, guide, batch)
            parameters = [p for module in (model, guide) for p in module.parameters()]
            gradients = [
                torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters
            ]
            terms = loss.terms.floats()
            found.append((value, terms, torch.cat([g.flatten() for g in gradients])))
            for parameter in parameters:
                parameter.grad = None
    return found, loss


def assert_a_replay_is_the_eager_step(make, estimator, penalties=(), dtype=torch.float64):
    eager, _ = steps_of(make, estimator, penalties, dtype, recorded=False)
    replayed, captured = steps_of(make, estimator, penalties, dtype, recorded=True)
    assert captured.note is None
    assert len(captured.recorded) == 1
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    if estimator in BIT_EQUAL:
        tolerance = 0.0
    for (loss, terms, gradient), (other, same, replay) in zip(eager, replayed, strict=True):
        assert other == pytest.approx(loss, rel=tolerance)
        assert same.per_observation() == pytest.approx(terms.per_observation(), rel=1e-5, abs=1e-5)
        largest = float(gradient.abs().max())
        torch.testing.assert_close(replay, gradient, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(("pair", "estimator"), PENALISED)
def test_a_replay_is_the_eager_step_with_penalties(pair, estimator):
    penalties = [HSIC(10.0), WeightedKL("style", 2.0, warmup_steps=4)]
    assert_a_replay_is_the_eager_step(PAIRS[pair], estimator, penalties, torch.float32)


@pytest.mark.parametrize("estimator", PLAIN)
def test_a_replay_in_double_precision_is_the_eager_step(estimator):
    assert_a_replay_is_the_eager_step(mlp, estimator)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_run_ends_with_the_same_weights_recorded_or_not(precision, monkeypatch):
    monkeypatch.setattr(capture, "_SEEN_BEFORE", 2)
    ends = []
    for how in ("auto", "off"):
        model, guide = make_pair()
        try:
            history = fit(
                model,
                guide,
                GroupSampler(small_data(), 3, 4),
                epochs=5,
                capture=how,
                precision=precision,
            )
        except InputError as error:
            pytest.skip(str(error))
        assert history.eager is None
        ends.append(
            torch.cat([p.detach().flatten() for p in (*model.parameters(), *guide.parameters())])
        )
    torch.testing.assert_close(*ends, rtol=0, atol=1e-6)


def test_a_step_that_cannot_be_recorded_stays_eager_and_says_why():
    class Reads(MLVAE):
        def style_prior(self, groups):
            prior = super().style_prior(groups)
            assert (
                float(self.decoder.layers[0].weight.detach().sum()) < 1e9
            )  # a number is read on the way
            return prior

    model, guide, x = mlp(Reads)
    loss = Captured(Objective(), after=0)
    with pyro.get_param_store().scope():
        svi = SVI(model, guide, fused_adam(1e-3), loss=loss)
        losses = [svi.step(GroupedBatch(x, GROUP, 3)) for _ in range(3)]
    assert loss.note.startswith("steps are eager: recording one met")
    assert all(torch.isfinite(torch.tensor(losses)))


def test_an_estimator_of_pyros_that_reads_numbers_stays_eager():
    loss = Captured(Objective(make_estimator("renyi", 2)), after=0)
    assert "RenyiELBO reads numbers on its way" in loss.note


def test_only_so_many_shapes_are_recorded(monkeypatch):
    monkeypatch.setattr(capture, "MOST_GRAPHS", 2)
    model, guide, _ = mlp()
    loss = Captured(Objective(), after=0)
    with pyro.get_param_store().scope():
        svi = SVI(model, guide, fused_adam(1e-3), loss=loss)
        for size in (4, 5, 6, 4):
            svi.step(GroupedBatch(torch.rand(size, 5), torch.arange(size) % 2, 2))
    assert len(loss.recorded) == 2
    again = Captured(Objective(), after=100)
    again.grant([list(loss.recorded[0])])
    with pyro.get_param_store().scope():
        SVI(model, guide, fused_adam(1e-3), loss=again).step(
            GroupedBatch(torch.rand(4, 5), torch.arange(4) % 2, 2)
        )
    assert again.recorded == loss.recorded[:1]
