"""Budget, validation part and augmentation on the command line."""

import csv

import numpy as np
import pytest
import torch
from quick import words, write_arrays

from pyro_mlvae import runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.cli.training import fit

pytestmark = pytest.mark.usefixtures("quick_evaluation")
SMALL = words("--hidden 8 --device cpu --groups-per-batch 2 --observations-per-group 4")


def test_a_run_is_judged_by_observations_that_neither_training_nor_the_test_sees(
    tmp_path, capsys, monkeypatch
):
    seen = []

    def watched(model, guide, sampler, **options):
        seen.append((torch.cat([batch.x for batch in sampler.epoch(0)]), options["validation"]))
        return fit(model, guide, sampler, **options)

    monkeypatch.setattr("pyro_mlvae.cli.training.fit", watched)
    monkeypatch.setattr("pyro_mlvae.cli.training.outcome", lambda history: "what the history says")
    data = write_arrays(tmp_path / "x.npz", 160)
    # The training ELBO of noise rises as it is learnt by heart; the learning rate makes it quick.
    budget = words("--sampler observations --steps 600 --patience 3 --learning-rate 0.05")
    assert run(["train", "--data", data, *SMALL, *budget, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    loaded = runs.load_run(tmp_path / "run")
    whole = loaded.config.load()
    _, split = loaded.config.split(whole)
    for trained, validation in seen:  # the model and the plain VAE
        for x, places in ((trained, split.train), (validation.x, split.validation)):
            seen_by, of_part = ({o.numpy().tobytes() for o in xs} for xs in (x, whole.x[places]))
            assert seen_by == of_part
    assert len(seen) == 2
    assert len(split.validation) == 20
    with (tmp_path / "run" / runs.HISTORY).open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert int(rows[-1]["steps"]) < 600  # patience ended it
    assert "the model: what the history says" in said
    assert "the plain VAE: what the history says" in said


def test_a_run_of_so_many_steps_goes_on_for_more(tmp_path, capsys, refusal):
    folder = tmp_path / "run"
    data = write_arrays(tmp_path / "x.npz", 60)
    new = ["train", "--data", data, *SMALL, "--no-vae", "--out", str(folder), "--steps", "5"]
    assert run(new) == 0
    few = "the model was trained to its last step: 48 observations are too few to hold some out"
    assert few in capsys.readouterr().err
    assert len((folder / runs.HISTORY).read_text().splitlines()) == 1 + 3  # two steps an epoch
    assert run(["train", "--resume", str(folder), "--steps", "8"]) == 0
    assert len((folder / runs.HISTORY).read_text().splitlines()) == 1 + 4
    assert runs.load_run(folder).config.steps == 8
    said = refusal("train", "--resume", folder, "--epochs", "3")
    assert "steps and epochs exclude each other, got 8 and 3" in said


def test_what_makes_no_sense_is_refused_before_anything_is_written(tmp_path, refusal):
    folder = tmp_path / "run"
    new = ("train", "--out", folder)
    said = refusal(*new, "--steps", "5", "--epochs", "3")
    assert "steps and epochs exclude each other" in said
    x = np.random.default_rng(0).random((40, 5))
    np.savez(tmp_path / "vectors.npz", x=x, group=np.arange(40) % 4)
    said = refusal(*new, "--data", f"npz:{tmp_path / 'vectors.npz'}", "--augment", "affine")
    images = "augment 'affine' takes images [N, channels, height, width], got x of shape [N, 5]"
    assert images in said
    assert not folder.exists()
