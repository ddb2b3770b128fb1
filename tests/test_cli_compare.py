"""``pyro-mlvae compare-elbos`` as its users meet it: files, streams and exit status."""

import csv
import io
import json
import re
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
from PIL import Image
from quick import words, write_arrays

from pyro_mlvae import InputError
from pyro_mlvae.cli.comparison_text import advice, comparison_table
from pyro_mlvae.cli.main import run
from pyro_mlvae.plotting.comparison import FIGURES
from pyro_mlvae.runs.config import RunConfig

TINY = words("""
    --epochs 1 --draws 5 --reference-draws 6 --groups 3 --observations-per-group 4 --particles 1
""")
SMALL = [*TINY, *words("--estimators trace dreg --particles 1 3 --seconds 0.05")]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A small comparison on the solved model: only to be read."""
    folder = tmp_path_factory.mktemp("cli") / "elbos"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        command = ["compare-elbos", "--data", "linear-gaussian", "--out", str(folder), *SMALL]
        status = run(command)
    return folder, SimpleNamespace(status=status, stdout=out.getvalue(), stderr=err.getvalue())


def test_it_writes_what_the_contract_says(compared):
    folder, done = compared
    assert done.status == 0, done.stderr
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    figures = words("equal-time sandwich signal tightness trade-off")
    assert written == ["elbos.csv", "elbos.json", *(f"figures/{name}.png" for name in figures)]
    comparison = json.loads((folder / "elbos.json").read_text())
    assert comparison["format_version"] == 1
    assert (comparison["data"], comparison["reference"]) == ("linear-gaussian", "exact")
    assert len(comparison["rows"]) == 2 * 4
    assert comparison["curves"][0]["seeds"] == 3
    for row in comparison["rows"]:
        assert None not in row["gradient_snr"].values()
    for row in comparison["sandwich"]:
        assert row["lower"] - 4 * row["difference_error"] < row["log_evidence"]
        assert row["log_evidence"] < row["upper"] + 4 * row["difference_error"]
    assert comparison["sandwich_missing"] is None


def test_memory_is_measured_where_the_system_says_it(compared):
    rows = json.loads((compared[0] / "elbos.json").read_text())["rows"]
    peaks = [row["peak_mb"] for row in rows]
    if sys.platform == "linux":
        assert all(0.0 < peak < 500.0 for peak in peaks), peaks
        assert peaks[:4] == peaks[4:]  # measured once, for both stages
    else:
        assert set(peaks) == {None}


def test_the_csv_has_a_row_for_each_and_columns_for_the_parts(compared):
    folder, _ = compared
    rows = list(csv.DictReader((folder / "elbos.csv").read_text().splitlines()))
    comparison = json.loads((folder / "elbos.json").read_text())
    for line, row in zip(rows, comparison["rows"], strict=True):
        assert float(line["gap"]) == row["gap"]
        assert float(line["gradient_snr_style_encoder"]) == row["gradient_snr"]["style_encoder"]
        assert line["effective_sample_size"] == (
            "" if row["estimator"] == "trace" else line["effective_sample_size"]
        )


def test_results_go_to_stdout_and_progress_to_stderr(compared):
    _, done = compared
    assert "after 1 epochs with trace" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "To train on the ELBO for" in done.stdout
    assert "On data of the model's own its evidence lies between" in " ".join(done.stdout.split())
    assert "nats per observation" in done.stdout
    assert len(re.findall(r"^dreg +\d", done.stdout, flags=re.MULTILINE)) == 2
    assert "comparing" in done.stderr
    assert "comparing" not in done.stdout


def test_the_figures_are_pictures_with_something_on_them(compared):
    for path in (compared[0] / "figures").glob("*.png"):
        image = Image.open(path).convert("L")
        assert min(image.size) > 300
        assert image.getextrema()[0] < 100 < image.getextrema()[1]


@pytest.mark.usefixtures("quick_evaluation")
def test_elsewhere_the_gap_is_to_a_tight_bound_and_an_old_comparison_is_replaced_only_if_told(
    compared, tmp_path, capsys, refusal, monkeypatch
):
    def cannot_draw(*_, **__):
        raise InputError("model must be able to draw x")

    monkeypatch.setattr("pyro_mlvae.comparison.compare.sandwich", cannot_draw)
    folder = tmp_path / "out"
    shutil.copytree(compared[0], folder)
    options = [*TINY, *words("--estimators trace --hidden 10 --no-memory --seconds 0")]
    data = ["--data", write_arrays(tmp_path / "mine.npz")]
    command = ["compare-elbos", *data, "--out", str(folder), *options]
    assert "already holds a comparison" in refusal(*command)
    assert run([*command, "--overwrite"]) == 0
    said = capsys.readouterr()
    assert "nested-50x20, itself a bound" in said.out
    reason = "the bounds from both sides are missing (model must be able to draw x)"
    assert reason in said.err.splitlines()
    comparison = json.loads((folder / "elbos.json").read_text())
    assert comparison["reference"] == "nested-50x20"
    assert (comparison["sandwich"], comparison["sandwich_missing"] in reason) == ([], True)
    assert not (folder / "figures" / "sandwich.png").exists()
    assert comparison["rows"][0]["peak_mb"] is None
    assert not (folder / "figures" / "equal-time.png").exists()


def row_of(**changed):
    parts = {"content_encoder": None, "style_encoder": 1.0, "decoder": 2.0}
    return {
        **{"estimator": "stl", "num_particles": 1, "stage": "trained", "value": -1.0, "gap": 1e-16},
        **{"standard_error": -0.0, "gradient_snr": parts, "gradient_variance": parts},
        **{"gradient_bias_z": parts, "effective_sample_size": None, "k_hat": None},
        **{"also": ["dreg"]},
        **{"ms_per_step": 1.0, "peak_mb": None, "passes_per_step": 3.0},
    } | changed


def comparison_of(rows, curves=()):
    return {
        **{"data": "mine", "units": "nats", "reference": "exact", "observations": 1, "groups": 1},
        **{"epochs": 1, "rows": rows, "curves": curves, "sandwich": [], "refused": []},
    }


def curve_of(name, elbo, interval):
    return {
        **{"estimator": name, "num_particles": 1, "learning_rate": 0.003, "seeds": 3},
        **{"seconds": [2.0], "steps": [9], "elbo": [elbo], "elbo_interval": [interval]},
    }


def test_undefined_numbers_are_dashes_in_the_table():
    table = comparison_table(comparison_of([row_of(), row_of(stage="initial")]))
    line, shared = (line for line in table.splitlines() if line.startswith("stl"))
    assert line.split() == words("stl 1 -1.000 0.000 0.000 - 1 2 2.0 - - 3 1.0 - -")
    assert shared == "stl at K = 1 stands for dreg as well"


def test_advice_names_ties_heavy_tails_and_what_was_left_out():
    rows = [row_of(), row_of(estimator="group-iwae", k_hat=0.9, gap=0.5)]
    curves = [curve_of("trace", 5.0, 0.2), curve_of("stl", 4.9, 0.1), curve_of("local", 3.0, 0.1)]
    comparison = comparison_of(rows, curves)
    said = " ".join(advice(comparison).split())
    assert "take trace (K = 1) at learning rate 0.003" in said
    assert "within the intervals of stl (K = 1), which" in said
    assert "local" not in said
    assert "k-hat of 0.90, above 0.7" in said
    comparison["refused"] = [{"estimator": "local", "why": "it must"}]
    sandwich = {"num_particles": 10, "lower": 1.0, "upper": 2.0}
    comparison |= {"curves": curves[::2], "sandwich": [sandwich]}
    said = " ".join(advice(comparison).split())
    assert "no other's interval overlaps" in said
    assert "lies between 1.00 and 2.00" in said
    assert said.endswith("Left out, for they do not take this model and guide: local.")


def test_no_figure_declares_a_winner_in_its_title(compared):
    comparison = json.loads((compared[0] / "elbos.json").read_text())
    names = {row["estimator"] for row in comparison["rows"]}
    for draw in FIGURES.values():
        figure = draw(comparison)
        titles = [axes.get_title() for axes in figure.axes]
        assert not any(name in title for name in names for title in titles), titles
        assert figure.get_suptitle() == ""


@pytest.mark.usefixtures("quick_evaluation")
def test_the_target_without_a_normal_posterior_is_compared_as_well(tmp_path, capsys):
    options = [*TINY, *words("--estimators trace local --no-memory --seconds 0 --thorough")]
    assert run(["compare-elbos", "--data", "mixture", "--out", str(tmp_path / "m"), *options]) == 0
    comparison = json.loads((tmp_path / "m" / "elbos.json").read_text())
    assert comparison["reference"] == "exact"
    assert comparison["draws"] == 5  # what is given counts, with --thorough too
    assert {row["estimator"] for row in comparison["rows"]} == {"trace"}
    (refused,) = comparison["refused"]
    assert refused["estimator"] == "local"
    assert "needs Normal content" in refused["why"]
    assert "brings" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--estimators trase", "did you mean 'trace'? Known are trace, mean-field, graph"),
        ("--particles 0", "particles must be a positive whole number, got 0"),
        ("--particles two", "--particles"),
        ("--data digit", "did you mean 'digits'"),
        ("--data mixture --guide average-of-normals", "mixture brings its own model and guide"),
        ("--alpha 1", "alpha must be at least 0 and not 1"),
        ("--alpha 1.5", "must be in [0, 1), got 1.5"),
        ("--alpha 0.5 --estimators stl", "neither is compared"),
        ("--groups 0", "groups_per_batch must be a positive whole number"),
        ("--learning-rate -1", "learning_rate must be positive"),
        ("--out HERE/file", "is a file: name a folder"),
        ("--out HERE/other", "is not a comparison folder"),
        ("--out /proc/elbos", "cannot be written"),
        # Before an old comparison is replaced.
        ("--overwrite --draws 1", "draws must be a whole number of at least 2, got 1"),
        ("--overwrite --seconds -1", "seconds must be at least 0, got -1.0"),
        ("--overwrite --epochs 0", "epochs must be a positive whole number, got 0"),
    ],
)
def test_what_the_user_can_correct_ends_with_one_sentence_and_status_2(
    arguments, sentence, tmp_path, refusal
):
    (tmp_path / "file").write_text("")
    for folder, name in (("other", "thesis.tex"), ("old", "elbos.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{}")
    options = arguments.replace("HERE", str(tmp_path)).split()
    if "--out" not in options:
        options += ["--out", tmp_path / "old"]
    assert sentence in refusal("compare-elbos", *options)
    assert (tmp_path / "other" / "thesis.tex").exists()
    assert (tmp_path / "old" / "elbos.json").read_text() == "{}"


def test_train_takes_the_order_of_its_estimator():
    assert RunConfig(elbo="group-renyi", alpha=0.2).alpha == 0.2
    for wrong, sentence in (
        ({"elbo": "renyi", "alpha": 1.0}, "not 1"),
        ({"elbo": "group-renyi", "alpha": 1.5}, "must be in"),
        ({"elbo": "trace", "alpha": 0.5}, "leave it out"),
    ):
        with pytest.raises(ValueError, match=sentence):
            RunConfig(**wrong)
