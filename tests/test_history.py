"""The history of a run, as a file that appears whole or not at all."""

import csv

import pytest
from fitting import fit_small, small_data

from pyro_mlvae.files import write_atomically
from pyro_mlvae.training import History


def test_a_history_written_as_csv_reads_back_and_leaves_nothing_else(tmp_path):
    history = fit_small(validation=small_data().batch(), validate_every=2)
    history.write_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        read = [
            {k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)
        ]
    assert read == history.rows()
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_history_without_epochs_can_be_written(tmp_path):
    History().write_csv(tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text().split() == ["epoch"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write():
        with write_atomically(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    with write_atomically(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
