"""Tables from the command line: columns by name, counts, and other tables for a trained run."""

import json

import numpy as np
import pytest
import torch
from quick import quickly, words

from pyro_mlvae import plotting, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.networks import LogCountsEncoder
from pyro_mlvae.plotting.style import new_figure

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("quick_evaluation")

SMALL = words("--no-vae --steps 3 --hidden 8 --content-dim 2 --style-dim 2 --device cpu")
COUNTS = words("--group-column donor --likelihood counts")


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    donor = np.repeat([f"d{i}" for i in range(10)], 12)
    counts = generator.poisson([1.0, 20.0, 300.0], (120, 3))
    kind = np.tile(["t", "b"], 60)
    return pandas.DataFrame(
        {"donor": donor, "kind": kind, **{f"g{i}": counts[:, i] for i in range(3)}}
    )


@pytest.fixture(scope="module")
def cells(table, tmp_path_factory):
    file = tmp_path_factory.mktemp("cells") / "cells.csv"
    table.to_csv(file, index=False)
    return f"csv:{file}"


@pytest.fixture(scope="module")
def trained(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    command = words(f"train --data {cells} --label-column kind --out {folder}")
    with quickly():
        assert run([*command, *COUNTS, *SMALL]) == 0
    return folder


def test_a_table_of_counts_trains_and_its_columns_are_found_by_name(
    trained, cells, table, tmp_path
):
    config = json.loads((trained / "config.json").read_text())
    assert (config["group_column"], config["label_column"]) == ("donor", "kind")
    assert config["feature_columns"] == ["g0", "g1", "g2"]
    found = runs.load_run(trained)
    assert isinstance(found.guide.encoder, LogCountsEncoder)
    # Means start at those of the training part.
    assert torch.allclose(
        found.model.likelihood.rate.log(), torch.tensor([1.0, 20.0, 300.0]).log(), atol=0.3
    )
    first = table.iloc[:24]
    first[["g2", "kind", "g0", "donor", "g1"]].to_parquet(tmp_path / "new.parquet")
    codes = []
    for data in (cells, f"parquet:{tmp_path}/new.parquet"):
        out = tmp_path / "codes.npz"
        assert run(words(f"embed {trained} --data {data} --out {out} --device cpu")) == 0
        codes.append(np.load(out)["content_loc"])
    np.testing.assert_allclose(codes[1], codes[0][:24], rtol=1e-5, atol=1e-6)


def test_arrays_are_taken_where_a_table_was_trained_on(trained, table, tmp_path):
    x, group = table[["g0", "g1", "g2"]].to_numpy("f4"), table["donor"].to_numpy(str)
    np.savez(tmp_path / "new.npz", x=x, group=group)
    command = f"embed {trained} --data npz:{tmp_path}/new.npz --out {tmp_path}/codes.npz"
    assert run(words(command)) == 0


def test_counts_given_their_totals_from_the_command_line(cells, tmp_path, capsys, monkeypatch):
    data = [*COUNTS, *words(f"--data {cells} --library-size --hidden 8")]
    assert run(["train", *data, "--out", str(tmp_path / "run"), *SMALL]) == 0
    found = runs.load_run(tmp_path / "run")
    assert found.config.library_size
    assert found.model.likelihood.library_size
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["diagnostics"]["simulation_based"] is None
    drawn = []
    monkeypatch.setattr(plotting, "swap_grid", lambda *x, **_: drawn.extend(x) or new_figure(1, 1))
    assert run(["swap", str(tmp_path / "run"), "--out", str(tmp_path / "swap.png")]) == 0
    _, styles, grid = drawn
    torch.testing.assert_close(grid.sum(-1), styles.sum(-1).to(grid).expand(grid.shape[:2]))
    few = words("--particles 1 --epochs 1 --draws 4 --reference-draws 4 --seconds 0 --groups 3")
    few += words("--estimators trace --no-memory")
    assert run(["compare-elbos", *data, "--out", str(tmp_path / "elbos"), *few]) == 0
    assert json.loads((tmp_path / "elbos" / "elbos.json").read_text())["sandwich"] == []
    assert not (tmp_path / "elbos" / "figures" / "sandwich.png").exists()
    assert "could not be drawn" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "name it with --group-column"),
        ("--group-column doner", "did you mean 'donor'"),
        ("--group-column donor --label-column sort", "label must name a column"),
        ("--group-column donor --feature-columns kind", "'kind' holds 't'"),
        (
            "--group-column donor --library-size",
            "library_size is a setting of the likelihood 'counts'",
        ),
        (
            "--group-column donor --likelihood counts --library-size --missing mask",
            "which missing='mask' leaves unknown: give one of them",
        ),
        ("--group-column donor --likelihood counts --feature-columns half", "whole numbers"),
    ],
)
def test_columns_that_are_not_there_end_with_one_sentence(
    arguments, sentence, table, tmp_path, refusal
):
    table.assign(half=0.5).to_csv(tmp_path / "cells.csv", index=False)
    command = words(f"train --data csv:{tmp_path}/cells.csv --out {tmp_path}/run")
    assert sentence in refusal(*command, *SMALL, *words(arguments))
    assert not (tmp_path / "run").exists()
