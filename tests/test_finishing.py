"""A run is complete before its first figure: nothing is lost to a drawing or an interruption."""

import json

import pytest
from quick import quickly, words, write_arrays

from pyro_mlvae import runs
from pyro_mlvae.cli import finishing
from pyro_mlvae.cli.main import run
from pyro_mlvae.plotting import run_figures
from pyro_mlvae.runs.folder import EXPLORER
from pyro_mlvae.runs.split_file import SPLIT

SMALL = words("--epochs 2 --hidden 8 --no-vae --device cpu")
COMPLETE = {runs.CONFIG, runs.WEIGHTS, runs.CHECKPOINT, runs.HISTORY, runs.METRICS, runs.REPORT}
COMPLETE |= {EXPLORER, SPLIT}


@pytest.fixture
def quick_figures():
    with quickly(draw=True):
        yield


@pytest.fixture
def arrays(tmp_path):
    return write_arrays(tmp_path / "x.npz")


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
    assert report.count("data:image/") == len(drawn)


@pytest.mark.usefixtures("quick_evaluation")
def test_an_interrupted_evaluation_is_finished_by_evaluate(arrays, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    measure = finishing.evaluate

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(finishing, "evaluate", interrupt)
    assert run(["train", "--data", arrays, *SMALL, "--out", str(folder)]) == 130
    assert files(folder) == COMPLETE - {runs.METRICS, runs.REPORT, EXPLORER}
    assert f"pyro-mlvae evaluate {folder}" in capsys.readouterr().err
    monkeypatch.setattr(finishing, "evaluate", measure)
    assert run(["evaluate", str(folder)]) == 0
    assert files(folder) == COMPLETE
    curves, swap = (folder / runs.FIGURES / f"{name}.png" for name in ("training", "swap"))
    assert curves.is_file()
    # Without a checkpoint all but the curves of training is drawn.
    for file in (folder / runs.CHECKPOINT, curves, swap):
        file.unlink()
    assert run(["evaluate", str(folder)]) == 0
    assert swap.is_file()
    assert not curves.exists()


@pytest.mark.usefixtures("quick_figures")
@pytest.mark.parametrize("groups", ["3", "0 1 2"])
def test_few_groups_held_out_are_measured_as_far_as_they_can_be(arrays, tmp_path, groups, capsys):
    folder = tmp_path / "run"
    options = ["--hold-out-groups", *groups.split(), "--out", str(folder)]
    assert run(["train", "--data", arrays, *SMALL, *options]) == 0
    assert "could not be drawn" not in capsys.readouterr().err
    assert files(folder) == COMPLETE
    metrics = json.loads((folder / runs.METRICS).read_text())
    assert metrics["split"] == "unseen groups"
