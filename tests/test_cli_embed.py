"""``pyro-mlvae embed``, and the plain VAE that ``train`` puts beside the model."""

import json
import shutil

import numpy as np
import pytest
from quick import SMALL, words, write_arrays

from pyro_mlvae import load_dataset, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.latents import encode

pytestmark = pytest.mark.usefixtures("quick_evaluation")


@pytest.fixture
def trained(digits_run):
    return digits_run.folder


def metrics(folder):
    return json.loads((folder / runs.METRICS).read_text())


def test_embed_writes_the_codes_of_every_observation_in_the_order_of_the_data(
    trained, tmp_path, capsys
):
    file = tmp_path / "new" / "codes.npz"
    options = words("--data digits --device cpu --out")
    assert run(["embed", str(trained), *options, str(file)]) == 0
    assert "1,797 observations of 10 groups encoded" in capsys.readouterr().out
    data = load_dataset("digits")
    codes = encode(runs.load_run(trained).guide, data)
    with np.load(file, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["content_loc"], codes.content.mean)
        np.testing.assert_array_equal(arrays["style_loc"], codes.style.mean)
        np.testing.assert_array_equal(arrays["label"], np.asarray(data.label_names)[data.label])
        assert arrays["group_content_loc"].shape == (10, 16)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--out codes.csv", "must end in .npz"),
        ("--out /proc/codes.npz", "cannot be written"),
        ("--out codes.npz --data linear-gaussian", "shape [16], but the run was trained on"),
    ],
)
def test_what_embed_cannot_do_ends_with_one_sentence(
    trained, arguments, sentence, tmp_path, monkeypatch, refusal
):
    monkeypatch.chdir(tmp_path)
    assert sentence in refusal("embed", trained, *arguments.split())
    assert not list(tmp_path.iterdir())


def test_the_vae_stands_beside_the_model_in_every_comparison(trained):
    found = metrics(trained)
    probe = found["probe"]
    assert set(probe["vae"]) == {"classifier", "style", "content", "latent"}
    assert set(probe["vae"]["latent"]["1"]) == set(probe["content"]["1"])
    assert found["elbo"]["vae"]["observations"] == found["elbo"]["observations"]
    assert found["swap"]["vae"]["consistency"]["10"] is not None
    # Same networks, same size: only training differs.
    model, vae = runs.load_run(trained), runs.load_run(trained / runs.VAE)
    assert [p.shape for p in model.model.parameters()] == [p.shape for p in vae.model.parameters()]
    assert vae.config.epochs == model.config.epochs


def test_without_a_vae_nothing_of_it_is_measured_and_an_old_one_goes(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert (folder / runs.VAE / runs.WEIGHTS).exists()
    assert run(["train", "--out", str(folder), "--overwrite", "--no-vae", *SMALL]) == 0
    assert not (folder / runs.VAE / runs.WEIGHTS).exists()
    found = metrics(folder)
    assert found["probe"]["vae"] is None
    assert found["elbo"]["vae"] is None
    assert not (folder / runs.FIGURES / "swap-vae.png").exists()
    # The model does not depend on whether a VAE was trained after it.
    assert (folder / runs.WEIGHTS).read_bytes() == (trained / runs.WEIGHTS).read_bytes()


def test_a_vae_is_a_run_of_its_own_too(tmp_path, capsys):
    folder = tmp_path / "run"
    new = words("train --model vae --epochs 1 --hidden 8 --device cpu --data")
    assert run([*new, write_arrays(tmp_path / "x.npz"), "--out", str(folder)]) == 0
    found = metrics(folder)
    assert found["probe"]["vae"] is None
    assert found["elbo"]["kl_content"] > 0.0
    assert not (folder / runs.VAE).exists()
    assert "nats per observation" in capsys.readouterr().out
    assert run(["evaluate", str(folder), "--device", "cpu"]) == 0


def test_metrics_hold_what_the_contract_names(trained):
    found = metrics(trained)
    assert found["elbo"]["nested_iwae_per_observation"] > found["elbo"]["per_observation"]
    assert set(found["swap"]["consistency"]) == {"1", "10"}
    assert 0.8 < found["swap"]["reader_accuracy"] <= 1.0
    assert found["swap"]["truth"] is None  # nobody can draw a 3 in the hand of a 7
    for swap in (found["swap"], found["swap"]["vae"]):
        assert set(swap["style_kept"]) == {"1", "10"}
        assert all(error > 0.0 for error in swap["standard_error"]["style_zeroed"].values())
    assert found["active_units"]["content"] <= 16
    assert len(found["active_units"]["kl_style"]) == 4
    total = sum(found["active_units"]["kl_style"])
    assert total == pytest.approx(found["elbo"]["kl_style"], rel=1e-4)
    by_group = sum(found["active_units"]["kl_content"]) * found["elbo"]["groups"]
    assert by_group / found["elbo"]["observations"] == pytest.approx(
        found["elbo"]["kl_content"], rel=1e-4
    )
    diagnostics = found["diagnostics"]
    assert len(diagnostics["calibration"]["with_prior"][0]) == len(
        diagnostics["calibration"]["levels"]
    )
    assert set(diagnostics["simulation_based"]["sites"]) == {"content", "style"}
    assert diagnostics["simulation_based"]["ranks"] >= 60
    assert len(diagnostics["k_hat"]["k"]) == diagnostics["k_hat"]["groups"] == 40


def test_a_collapsed_model_is_warned_of(tmp_path, capsys):
    # Noise that is nothing to a Bernoulli, which takes x as it is: no code of it is worth its nats.
    x = 0.5 + 0.01 * np.random.default_rng(0).normal(size=(60, 4))
    np.savez(tmp_path / "noise.npz", x=x, group=np.arange(60) % 6)
    new = words("train --likelihood bernoulli --no-vae --epochs 200 --hidden 16 --out")
    assert run([*new, str(tmp_path / "run"), "--data", f"npz:{tmp_path / 'noise.npz'}"]) == 0
    content, style = metrics(tmp_path / "run")["warnings"]
    # A product of experts without the prior is narrow, whatever the observations.
    assert content.startswith("content does not vary")
    assert style.startswith("style has collapsed onto the prior")
    assert "warning: " in capsys.readouterr().out
