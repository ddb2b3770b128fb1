"""The command line, as its users meet it: files, streams and exit status."""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from quick import words, write_arrays

from pyro_mlvae import runs
from pyro_mlvae.cli import training
from pyro_mlvae.cli.main import run

FIGURES = words("""
    active-units evidence generation interpolation k-hat latents posterior-scales probes
    reconstructions self-consistency simulation-based-calibration swap swap-evidence swap-vae
    swap-vae-evidence training traversal-content traversal-style
""")


def test_train_writes_the_run_folder(digits_run):
    folder = digits_run.folder
    assert digits_run.status == 0, digits_run.stderr
    trained = words("checkpoint.safetensors config.json history.csv model.safetensors")
    trained.append("split.safetensors")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *trained,
        *words("explorer.safetensors metrics.json report.html"),
        *(f"figures/{name}.png" for name in FIGURES),
        *(f"vae/{name}" for name in trained),
    }


def test_results_go_to_stdout_and_progress_to_stderr(digits_run):
    assert "nats per observation" in digits_run.stdout
    assert "/18 " in digits_run.stderr  # steps
    assert "/18 " not in digits_run.stdout


def test_the_figures_are_pictures_with_something_on_them(digits_run):
    for path in (digits_run.folder / "figures").glob("*.png"):
        image = Image.open(path).convert("L")
        assert min(image.size) > 300
        assert image.getextrema()[0] < 100 < image.getextrema()[1]


def test_metrics_are_as_the_contract_says(digits_run):
    metrics = json.loads((digits_run.folder / "metrics.json").read_text())
    assert metrics["format_version"] == 2
    assert metrics["data"] == "digits"
    elbo = metrics["elbo"]
    assert elbo["per_observation"] == pytest.approx(
        elbo["reconstruction"] - elbo["kl_style"] - elbo["kl_content"], rel=1e-6
    )
    assert elbo["per_group"] * elbo["groups"] == pytest.approx(
        elbo["per_observation"] * elbo["observations"], rel=1e-6
    )
    for probe in (metrics["probe"], metrics["probe"]["untrained"]):
        assert list(probe["content"]) == ["1", "2", "5", "10", "50"]
        assert set(probe["content"]["1"]) == {"accuracy", "standard_error", "cross_entropy"}
        assert probe["classifier"].startswith("content: ")
        assert probe["content"]["50"] is None  # no digit has 50 held-out drawings
        for way in ("draws", "loc", "loc_and_scale"):
            assert 0.0 < probe["style"][way]["accuracy"] <= 1.0
    assert metrics["evidence"]["k"] == [1, 2, 5, 10]
    scales = metrics["evidence"]["content_scale"]
    assert scales == sorted(scales, reverse=True)
    assert len(metrics["evidence"]["untrained"]) == len(metrics["evidence"]["vae"]) == len(scales)
    assert metrics["unseen"] is None


def test_history_has_a_row_an_epoch_with_units_in_the_names(digits_run):
    rows = list(csv.DictReader((digits_run.folder / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["elbo_per_observation"]) > float(rows[0]["elbo_per_observation"])
    assert rows[-1]["validation_kl_content_per_observation"]


@pytest.mark.usefixtures("quick_evaluation")
def test_a_run_is_measured_again_refused_replaced_and_decided_by_its_seed(
    tmp_path, capsys, refusal, monkeypatch
):
    folder = tmp_path / "run"
    small = words("--no-vae --epochs 1 --hidden 8 --device cpu --seed")
    train = ["train", "--data", write_arrays(tmp_path / "x.npz"), "--out", str(folder), *small]
    assert run([*train, "1"]) == 0
    weights = (folder / runs.WEIGHTS).read_bytes()
    before = json.loads((folder / "metrics.json").read_text())
    capsys.readouterr()
    assert run(["evaluate", str(folder), "--device", "cpu"]) == 0
    after = json.loads((folder / "metrics.json").read_text())
    assert after | {"seconds": 0} == before | {"seconds": 0}
    assert "held-out" in capsys.readouterr().out
    assert "--overwrite" in refusal(*train, "1")
    # What follows is of the training alone.
    monkeypatch.setattr(training, "finish", lambda *_, **__: (folder, {}))
    monkeypatch.setattr(training, "print_results", lambda *_: None)
    assert run([*train, "1", "--overwrite"]) == 0
    assert (folder / runs.WEIGHTS).read_bytes() == weights
    assert run([*train, "2", "--overwrite"]) == 0
    assert (folder / runs.WEIGHTS).read_bytes() != weights


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("train", "name one folder: --out RUN for a new run, or --resume RUN"),
        ("train --out OUT --epochs many", "--epochs"),
        ("train --out OUT --epochs 0", "epochs must be a positive whole number, got 0"),
        ("train --out OUT --data digit", "did you mean 'digits'"),
        ("train --out OUT --style-dim -2", "style_dim must be"),
        ("train --out OUT --device cuda:77", "is not here: choose auto or one of cpu"),
        ("train --out OUT --test-fraction 2", "between 0 and 1"),
        ("train --out OUT --data linear-gaussian --likelihood bernoulli", "takes x in"),
        ("train --out /proc/run", "cannot be written"),
        ("train --out OUT --learning-rate 1e30", "try a smaller learning rate"),
        ("evaluate OUT", "config.json is missing"),
    ],
)
def test_what_the_user_can_correct_ends_with_one_sentence_and_status_2(
    arguments, sentence, tmp_path, refusal
):
    assert sentence in refusal(*arguments.replace("OUT", str(tmp_path / "run")).split())


def test_ctrl_c_keeps_what_was_trained(tmp_path):
    folder, errors = tmp_path / "run", tmp_path / "stderr"
    command = [sys.executable, "-m", *words("pyro_mlvae train --epochs 100000 --out"), str(folder)]

    def listen() -> None:
        # Whoever starts the tests in the background may have told all their children to ignore it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, stderr=stderr, preexec_fn=listen) as process,
    ):
        deadline = time.monotonic() + 120
        while "nats/observation" not in errors.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    said = errors.read_text()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert runs.load_run(folder).config.epochs == 100000
    assert len((folder / runs.HISTORY).read_text().splitlines()) > 1
