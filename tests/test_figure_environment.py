"""Figures are the same in every environment, and one that fails costs none of the others."""

import contextlib
import io
import os
import subprocess
import sys

import pytest
import torch
from fitting import make_pair
from quick import quickly, write_arrays

from pyro_mlvae import GroupedDataset
from pyro_mlvae.cli.main import run
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.plotting import backend, comparison, draw_comparison, draw_run, run_figures, style
from pyro_mlvae.training import EpochRecord, History

HISTORY = History([EpochRecord(1, 0.5, -9.0, ElboTerms(-10.0, {"style": 2.0}, 4, 2))])

# A chart, pictures with names that TeX would trip over, and what is written, by its digest.
DRAW = """
import hashlib, sys, tempfile
from pathlib import Path
import torch
from pyro_mlvae.plotting import k_hat_figure, latent_map, save_figure, swap_grid
x = torch.arange(32.0).reshape(2, 1, 4, 4) / 32.0
label = torch.arange(12) % 3
figures = [
    k_hat_figure({"groups": 2, "threshold": 0.7, "share_above": 0.5, "max": 1.2, "k": [-0.3, 1.2]}),
    swap_grid(x, x, x.expand(2, 2, 1, 4, 4), title="Content & style, 100 % of $x_1"),
    latent_map(torch.arange(24.0).reshape(12, 2), torch.ones(12, 2), label, ["a_b", "c$", "&#%"]),
]
for figure in figures:
    path = Path(tempfile.mkdtemp()) / "figure.png"
    save_figure(figure, path)
    print(hashlib.sha256(path.read_bytes()).hexdigest())
print("matplotlib.pyplot" in sys.modules)
"""
ODD = """
text.usetex: true
savefig.transparent: true
savefig.bbox: tight
figure.dpi: 300
axes.grid: true
axes.facecolor: black
figure.facecolor: black
text.color: white
image.cmap: jet
font.size: 30
lines.linewidth: 9
"""


def test_figures_are_the_same_without_backend_home_and_stderr_and_with_a_matplotlibrc(tmp_path):
    with contextlib.redirect_stdout(io.StringIO()) as here:
        exec(DRAW, {})
    (tmp_path / "matplotlibrc").write_text(ODD)
    odd = dict.fromkeys(("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), "")
    odd |= {"HOME": "/proc/none", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    # An inline backend, as in a terminal that a notebook has opened, is as unknown where there is
    # no notebook.
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        env=os.environ | odd | {"MPLBACKEND": "nonsense"},
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(2),
        check=True,
    )
    *there, has_pyplot = done.stdout.decode().split()
    assert len(there) == 3
    assert there == here.getvalue().split()[:3]
    assert has_pyplot == "False"


def test_settings_of_the_user_are_as_they_were_after_a_figure(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True, "figure.dpi": 300, "lines.linewidth": 9.0}):
        before = dict(matplotlib.rcParams)
        style.save_figure(run_figures.training_curves(HISTORY), tmp_path / "figure.png")
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("named", ["pdf", "nonsense"])
def test_a_backend_that_there_is_still_counts_for_others(named):
    script = (
        f"import os, runpy; runpy.run_path({backend.__file__!r}); import matplotlib; "
        "print(os.environ['MPLBACKEND'], matplotlib.get_backend(auto_select=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"MPLBACKEND": named},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [named, "pdf" if named == "pdf" else "None"]


def test_a_figure_that_cannot_be_drawn_is_named_and_costs_none_of_the_others(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no\nroom")

    data = GroupedDataset.from_arrays(torch.rand(8, 5), ["a", "b"] * 4)
    nothing = dict.fromkeys(("probe", "unseen", "active_units"))
    metrics = nothing | {
        "elbo": {"units": "nats"},
        "evidence": {"k": [1], "content_scale": [0.5], "untrained": None, "vae": None},
        "diagnostics": dict.fromkeys(("calibration", "simulation_based", "k_hat")),
    }
    monkeypatch.setattr(style, "DOTS", 30)
    monkeypatch.setattr(run_figures, "swap_grid", fail)
    (tmp_path / "swap.png").write_bytes(b"of an older run")
    failed = draw_run(tmp_path, *make_pair(), data, metrics, history=HISTORY)
    assert failed == dict.fromkeys(("swap", "swap-evidence"), "ValueError: no room")
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        *("reconstructions", "evidence", "latents", "generation", "interpolation", "training"),
        *("traversal-content", "traversal-style"),
    }


def test_a_comparison_loses_one_figure_at_most(tmp_path, monkeypatch):
    def fail(_):
        raise KeyError("rows")

    monkeypatch.setattr(comparison, "FIGURES", {"tightness": fail})
    assert draw_comparison(tmp_path, {"curves": []}) == {"tightness": "KeyError: 'rows'"}


def test_train_says_which_figure_is_missing_and_is_whole_without_it(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise ValueError("no room")

    monkeypatch.setattr(run_figures, "traversal_figure", fail)
    monkeypatch.setattr(style, "DOTS", 20)
    data = write_arrays(tmp_path / "noise.npz")
    few = ["--data", data, "--epochs", "1", "--hidden", "8", "--no-vae", "--device", "cpu"]
    with quickly(draw=True):
        assert run(["train", "--out", str(tmp_path / "run"), *few]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "could not be drawn" in line]
    sentence = "the figure traversal-{} could not be drawn (ValueError: no room)"
    assert said == [sentence.format(site) for site in ("content", "style")]
    assert (tmp_path / "run" / "figures" / "swap.png").is_file()
    assert "traversal-" not in (tmp_path / "run" / "report.html").read_text("utf-8")
