"""A run is complete before its first figure: nothing is lost to a drawing or an interruption."""

import json

import numpy as np
import pytest
from quick import quickly

from pyro_mlvae import runs
from pyro_mlvae.cli import finishing
from pyro_mlvae.cli.main import run
from pyro_mlvae.plotting import run_figures

SMALL = ["--epochs", "2", "--hidden", "8", "--no-vae", "--device", "cpu"]
COMPLETE = {
    runs.CONFIG,
    runs.WEIGHTS,
    runs.CHECKPOINT,
    runs.HISTORY,
    runs.METRICS,
    runs.REPORT,
    "explorer.safetensors",
    "split.safetensors",
}


@pytest.fixture
def quick_figures():
    with quickly(draw=True):
        yield


@pytest.fixture
def arrays(tmp_path):
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "x.npz",
        x=generator.random((40, 1, 8, 8), dtype=np.float32),
        group=np.arange(40) % 4,
    )
    return f"npz:{tmp_path / 'x.npz'}"


def files(folder):
    return {file.name for file in folder.iterdir() if file.is_file()}


@pytest.mark.usefixtures("quick_figures")
def test_a_run_is_complete_before_the_first_figure(arrays, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    before = []

    def interrupt(*_):
        before.append(files(folder))
        raise KeyboardInterrupt

    monkeypatch.setattr(run_figures, "swap_figure", interrupt)
    assert run(["train", "--data", arrays, *SMALL, "--out", str(folder)]) == 130
    assert before == [COMPLETE]
    said = capsys.readouterr().err
    assert f"training is complete; for the rest: pyro-mlvae evaluate {folder}" in said
    # A figure that fails is one line and a gap.
    monkeypatch.setattr(run_figures, "swap_figure", lambda *_, **__: 1 / 0)
    assert run(["evaluate", str(folder)]) == 0
    out, said = capsys.readouterr()
    lines = [line for line in said.splitlines() if "could not be drawn" in line]
    assert lines == [
        f"the figure {name} could not be drawn (ZeroDivisionError: division by zero)"
        for name in ("swap", "swap-evidence")
    ]
    assert f"look at {folder / runs.REPORT}" in out
    drawn = {file.stem for file in (folder / runs.FIGURES).iterdir()}
    assert {"training", "reconstructions", "latents"} <= drawn
    report = (folder / runs.REPORT).read_text()
    assert report.count("data:image/png") == len(drawn)


@pytest.mark.usefixtures("quick_evaluation")
def test_an_interrupted_evaluation_is_finished_by_evaluate(arrays, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    measure = finishing.evaluate

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(finishing, "evaluate", interrupt)
    assert run(["train", "--data", arrays, *SMALL, "--out", str(folder)]) == 130
    assert files(folder) == COMPLETE - {runs.METRICS, runs.REPORT, "explorer.safetensors"}
    assert f"pyro-mlvae evaluate {folder}" in capsys.readouterr().err
    monkeypatch.setattr(finishing, "evaluate", measure)
    assert run(["evaluate", str(folder)]) == 0
    assert files(folder) == COMPLETE
    assert (folder / runs.FIGURES / "training.png").is_file()


@pytest.mark.usefixtures("quick_evaluation")
def test_without_a_checkpoint_all_but_the_curves_of_training_is_drawn(arrays, tmp_path):
    folder = tmp_path / "run"
    assert run(["train", "--data", arrays, *SMALL, "--out", str(folder)]) == 0
    for name in (runs.CHECKPOINT, f"{runs.FIGURES}/training.png", f"{runs.FIGURES}/swap.png"):
        (folder / name).unlink()
    assert run(["evaluate", str(folder)]) == 0
    drawn = {file.stem for file in (folder / runs.FIGURES).iterdir()}
    assert "swap" in drawn
    assert "training" not in drawn


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize(
    "options", [["--hold-out-groups", "3"], ["--hold-out-groups", "0", "1", "2"]], ids=str
)
def test_few_groups_held_out_are_measured_as_far_as_they_can_be(arrays, tmp_path, options, capsys):
    folder = tmp_path / "run"
    assert run(["train", "--data", arrays, *SMALL, "--out", str(folder), *options]) == 0
    assert "could not be drawn" not in capsys.readouterr().err
    assert files(folder) == COMPLETE
    metrics = json.loads((folder / runs.METRICS).read_text())
    assert metrics["split"] == "unseen groups"
