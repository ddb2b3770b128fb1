"""The benchmarks: the hand-written step computes what ours does, and the whole program runs. No times."""

import importlib
import json
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

    in_numpyro, cases = script("in_numpyro"), script("cases")
    model, guide = cases.paper_pair()
    batch = cases.grouped(cases.observations(7), [3, 1, 2, 1])
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
    cases = script("cases")
    batch = cases.grouped(cases.observations(5), [4, 1])
    objective, losses = cases.captured(), []
    for own in (objective, Objective()):
        torch.manual_seed(0)
        with cases.our_step(cases.paper_pair(), own)(batch)() as step:
            losses.append([step() for _ in range(3)])
    assert objective.note is None
    assert len(objective.recorded) == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_our_own_normal_the_loss_is_the_same(script):
    cases = script("cases")
    batch = cases.grouped(cases.observations(5), [4, 1])
    noise = FixedNoise(content=torch.randn(2, 10), style=torch.randn(5, 10))
    losses = [
        Objective().loss(model, noise(guide), batch)
        for model, guide in (cases.paper_pair(), cases.plain_pair())
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_handwritten_step_draws_and_moves_every_weight(script):
    cases, handwritten = script("cases"), script("handwritten")
    model, guide = cases.paper_pair()
    trained = [*guide.encoder.parameters(), *model.decoder.parameters()]
    before = [p.detach().clone() for p in trained]
    step = handwritten.handwritten_step(guide.encoder, model.decoder)
    batch = cases.grouped(cases.observations(5), [4, 1])
    first, second = step(batch), step(batch)
    assert first != second
    assert all((p != old).any() for p, old in zip(trained, before, strict=True))


def test_bare_products_are_those_of_every_linear_layer(script):
    cases = script("cases")
    pair = cases.paper_pair()
    products = []
    multiply = cases.matrix_products(pair, cases.observations(6))
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
        "a": [timing.at_once(partial(calls.append, "a0")), timing.at_once(partial(calls.append, "a1"))],
        "b": [timing.at_once(partial(calls.append, "b"))],
    }
    times = timing.interleaved(cases, 3, warm_up=1)
    assert {name: each.shape for name, each in times.items()} == {"a": (3, 2), "b": (3, 1)}
    assert calls[::2] == calls[1::2]
    assert [sorted(calls[i : i + 6 : 2]) for i in range(0, 24, 6)] == [["a0", "a1", "b"]] * 4


def tiny(script):
    """Every part of the program, at its smallest."""
    steps, sweeps, cases = script("steps"), script("sweeps"), script("cases")
    sizes = ((160, cases.SMALL_SHAPE), (20, cases.EVENT_SHAPE))
    return {
        "step": partial(steps.step_rows, 1, sizes=sizes, compiled=False, instances=1),
        "convolutions": partial(steps.convolution_rows, 1, count=4, groups=2),
        "groups": partial(sweeps.group_rows, 1, count=30, groups=(1, 10, 30), instances=1),
        "particles": partial(sweeps.particle_rows, 1, count=20, particles=(1, 2)),
        "observations": partial(sweeps.observation_rows, 1, counts=(10, 20)),
        "dims": partial(sweeps.dim_rows, 1, count=20, dims=(2, 10)),
        "encoding": partial(script("encoding").encoding_rows, 1, count=8),
        "evidence": partial(script("evidence").evidence_rows, 1, sizes=(50, 100)),
        "feeding": partial(script("feeding").feeding_rows, 1, count=2000, steps=3),
    }


def test_the_program_runs_and_writes_a_table_json_and_a_figure(script, tmp_path, capsys, monkeypatch):
    benchmark, available = script("benchmark"), tiny(script)
    # Recording takes longer than all the steps here, and has a test of its own.
    monkeypatch.setattr(script("cases"), "RECORDED_AFTER", 100)
    assert list(available) == list(benchmark.parts(1))
    assert benchmark.run(available, list(available), 1, tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "results.png"]
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(results) == {"machine", "rounds", "rows"}
    facts = {"cpu", "cores", "threads", "memory_gb", "torch", "pyro", "python", "date", "commit"}
    assert facts <= set(results["machine"])
    rows = results["rows"]
    keys = {"part", "case", "ms", "base", "ratio", "at_most", "at", "more"}
    assert all(set(row) == keys for row in rows)
    assert all(row["ms"] > 0.0 and row["ratio"] > 0.0 for row in rows)
    assert {"eager", "captured", "hand-written", "matrix products", "trace", "local"} <= {
        row["case"] for row in rows
    }
    steps = script("steps")
    assert set(steps.WITHOUT) <= {row["case"] for row in rows}
    assert {row["base"] for row in rows if row["case"] in ("eager", "captured")} == {"hand-written"}
    # Whatever is asked of a case is asked in the table, with whether it holds.
    out = capsys.readouterr().out
    assert out.count("≤") == sum(row["at_most"] is not None for row in rows)
    assert {row["case"] for row in rows if row["at_most"] is not None} >= {
        *("captured", "stl", "dreg", "local")
    }
    assert all(row["part"] in out and row["case"] in out for row in rows)


def test_a_run_of_one_part_writes_nothing_unless_told_where(script, tmp_path, monkeypatch):
    benchmark = script("benchmark")
    ran = []
    monkeypatch.setattr(benchmark, "run", lambda *arguments: ran.append(arguments[1:]) or 0)
    assert benchmark.main(["--only", "dims", "--rounds", "3"]) == 0
    assert benchmark.main(["--only", "dims", "--out", str(tmp_path)]) == 0
    assert benchmark.main([]) == 0
    assert ran == [
        (["dims"], 3, None),
        (["dims"], benchmark.ROUNDS, tmp_path),
        (list(benchmark.parts(1)), benchmark.ROUNDS, BENCHMARKS),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_benchmark_says_so(script, capsys):
    assert script("gpu").main([]) == 2
    assert capsys.readouterr().err == "PyTorch finds no GPU here: run this where it does.\n"
