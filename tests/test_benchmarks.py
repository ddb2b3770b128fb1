"""The benchmarks: steps by hand and in NumPyro compute what ours does. No times."""

import importlib
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from exactly import FixedNoise
from normals import posterior_of, said_of

from pyro_mlvae.training import Objective

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Import a script from the folder of benchmarks, where they find each other."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_the_loss_in_numpyro_is_ours_for_the_same_weights_and_draws(script):
    pytest.importorskip("numpyro", reason="the extra bench is not installed")
    from numpyro.handlers import substitute
    from numpyro.infer import Trace_ELBO

    in_numpyro, steps = script("in_numpyro"), script("steps")
    model, guide = steps.paper_pair()
    batch = steps.grouped(steps.observations(7), [3, 1, 2, 1])
    noise = {"content": torch.randn(4, 10), "style": torch.randn(7, 10)}
    with torch.no_grad():
        ours = Objective().loss(model, FixedNoise(**noise)(guide), batch)
        posteriors = {"content": posterior_of(guide, batch), "style": said_of(guide, batch.x)[1]}
        draws = {
            name: in_numpyro.array(normal.loc + normal.scale * noise[name])
            for name, normal in posteriors.items()
        }
    theirs, their_guide = in_numpyro.programs(guide.encoder, model.decoder, batch.num_groups)
    data = in_numpyro.array(batch.x.flatten(1)), in_numpyro.array(batch.group)
    key = in_numpyro.jax.random.PRNGKey(0)
    loss = Trace_ELBO().loss(key, {}, theirs, substitute(their_guide, draws), *data)
    assert float(loss) == pytest.approx(ours, rel=1e-4)


def test_our_step_is_recorded_and_the_eager_one_draws_the_same(script):
    steps = script("steps")
    batch = steps.grouped(steps.observations(5), [4, 1])
    objective, losses = steps.captured(), []
    for own in (objective, Objective()):
        torch.manual_seed(0)
        with steps.our_step(steps.paper_pair(), own)(batch)() as step:
            losses.append([step() for _ in range(3)])
    assert objective.note is None
    assert len(objective.recorded) == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_handwritten_step_draws_and_moves_every_weight(script):
    steps, handwritten = script("steps"), script("handwritten")
    model, guide = steps.paper_pair()
    trained = [*guide.encoder.parameters(), *model.decoder.parameters()]
    before = [p.detach().clone() for p in trained]
    step = handwritten.handwritten_step(guide.encoder, model.decoder)
    batch = steps.grouped(steps.observations(5), [4, 1])
    first, second = step(batch), step(batch)
    assert first != second
    assert all((p != old).any() for p, old in zip(trained, before, strict=True))


def test_bare_products_are_those_of_every_linear_layer(script):
    steps = script("steps")
    pair = steps.paper_pair()
    products = []
    multiply = steps.matrix_products(pair, steps.observations(6))
    with torch.profiler.profile(record_shapes=True) as profile:
        multiply()
    for event in profile.events():
        if event.name == "aten::mm":
            products.append(tuple(map(tuple, event.input_shapes[:2])))
    wanted = []
    for inputs, outputs, is_first in ((784, 500, 1), (500, 40, 0), (20, 500, 0), (500, 1568, 0)):
        wanted += [((6, inputs), (inputs, outputs)), ((outputs, 6), (6, inputs))]
        wanted += [] if is_first else [((6, outputs), (outputs, inputs))]
    assert sorted(products) == sorted(wanted)


def test_a_ratio_is_formed_within_rounds_and_over_instances(script):
    # The machine becomes ten times slower, and one instance of three is unlucky.
    base = np.array([[1.0, 1.0, 1.0], [10.0, 10.0, 10.0], [10.0, 10.0, 10.0]])
    own = np.array([[2.0, 2.0, 9.0], [20.0, 20.0, 90.0], [20.0, 20.0, 90.0]])
    assert script("timing").ratio(own, base) == 2.0


def test_every_round_runs_every_instance_twice_in_a_row(script):
    calls, timing = [], script("timing")
    cases = {
        "a": [partial(nullcontext, partial(calls.append, name)) for name in ("a0", "a1")],
        "b": [partial(nullcontext, partial(calls.append, "b"))],
    }
    times = timing.interleaved(cases, 3)
    assert {name: each.shape for name, each in times.items()} == {"a": (3, 2), "b": (3, 1)}
    assert calls[::2] == calls[1::2]
    assert [sorted(calls[i : i + 6 : 2]) for i in range(0, 30, 6)] == [["a0", "a1", "b"]] * 5


def test_the_program_prints_both_tables_and_whether_what_is_asked_holds(
    script, monkeypatch, capsys
):
    benchmark, steps, scaling = script("benchmark"), script("steps"), script("scaling")
    sizes = ((160, steps.DIGITS), (10, steps.DIGITS))
    # What is compiled takes long to begin, and has tests of its own.
    few = partial(steps.step_rows, sizes=sizes, instances=1)
    monkeypatch.setattr(benchmark, "step_rows", few)
    monkeypatch.setattr(scaling, "INSTANCES", 1)
    tiny = partial(scaling.scaling_rows, count=30, groups=(10, 30), sizes=(50, 100))
    monkeypatch.setattr(benchmark, "scaling_rows", tiny)
    assert benchmark.main(["--rounds", "1", "--no-compile"]) == 0
    said = capsys.readouterr().out
    cases = ("hand-written", "eager", "captured", "matrix products", "30 even")
    assert [case for case in (*cases, "one of 6 and 24 of 1") if case not in said] == []
    # Of the captured step, of the most groups and of the skewed ones.
    assert said.count("≤") == said.count("met") + said.count("MISSED") == 3
    evidence = [line for line in said.splitlines() if line.startswith("evidence")]
    cases = [f"{count} {way}" for way in ("in memory", "streamed") for count in (50, 100)]
    assert [line for line, case in zip(evidence, cases, strict=True) if case not in line] == []
    assert all(0.0 <= float(line.split()[-1]) < 100.0 for line in evidence)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_table_is_refused(script, capsys):
    assert script("benchmark").main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err == "PyTorch finds no GPU here: run this where it does.\n"
