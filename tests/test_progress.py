"""What training came to, as history.csv and the settings of a run say it."""

import csv

import pytest

from pyro_mlvae import InputError
from pyro_mlvae.estimators import ElboTerms
from pyro_mlvae.runs.history import training_progress
from pyro_mlvae.training import EpochRecord, History


def test_progress_is_read_from_the_history_that_training_writes(tmp_path):
    assert training_progress(tmp_path) is None
    epochs = [
        EpochRecord(
            number, 0.1, value, ElboTerms(42 * value, {"style": 0.0}, 42, 6), steps=2 * number
        )
        for number, value in ((1, -3.0), (2, -1.5), (3, -1.0))
    ]
    History(epochs).write_csv(tmp_path / "history.csv")
    progress = training_progress(tmp_path)
    assert progress.elbo == [-3.0, -1.5, -1.0]
    assert progress.steps == 6
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    with (tmp_path / "history.csv").open("w", newline="") as file:  # as earlier versions wrote it
        writer = csv.DictWriter(
            file, [name for name in rows[0] if name != "steps"], extrasaction="ignore"
        )
        writer.writeheader()
        writer.writerows(rows)
    assert training_progress(tmp_path).steps is None
    assert training_progress(tmp_path).undertrained().startswith("undertrained: 3 epochs, and")
    History([]).write_csv(tmp_path / "history.csv")
    assert training_progress(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["epoch\n1\n", "epoch,elbo_per_observation\n1,much\n", "epoch,a\n1\n"]
)
def test_a_damaged_history_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InputError, match=r"history.csv is damaged .* train the run again"):
        training_progress(tmp_path)
