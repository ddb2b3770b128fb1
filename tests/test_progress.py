"""What training came to, as history.csv and the settings of a run say it."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.estimators import ElboTerms
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler, steps_of_an_epoch
from pyro_mlvae.runs.progress import training_progress
from pyro_mlvae.training import EpochRecord, History

DATA = GroupedDataset.from_arrays(torch.arange(42.0)[:, None], torch.arange(42) % 6)
settings_of_samplers = pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "groups", "groups_per_batch": 4},
        {"sampler": "observations", "groups_per_batch": 2, "observations_per_group": 4},
        {"groups_per_batch": 5, "model": "vae", "elbo": "group-iwae"},
    ],
)


@settings_of_samplers
def test_the_steps_of_an_epoch_are_the_minibatches_that_it_trains_on(settings):
    config = RunConfig(**settings)
    steps = steps_of_an_epoch(config, DATA)
    assert steps == len(list(make_sampler(config, DATA).epoch(0)))
    assert steps > 1


def test_progress_is_read_from_the_history_that_training_writes(tmp_path):
    config = RunConfig(sampler="groups", groups_per_batch=4)
    assert training_progress(tmp_path, config, DATA) is None
    epochs = [
        EpochRecord(number, 0.1, value, ElboTerms(42 * value, {"style": 0.0}, 42, 6))
        for number, value in ((1, -3.0), (2, -1.5), (3, -1.0))
    ]
    History(epochs).write_csv(tmp_path / "history.csv")
    progress = training_progress(tmp_path, config, DATA)
    assert progress.elbo == [-3.0, -1.5, -1.0]
    assert progress.steps == 6
    History([]).write_csv(tmp_path / "history.csv")
    assert training_progress(tmp_path, config, DATA) is None


@pytest.mark.parametrize("text", ["epoch\n1\n", "epoch,elbo_per_observation\n1,much\n", "epoch,a\n1\n"])
def test_a_damaged_history_is_refused_in_a_sentence(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InputError, match=r"history.csv is damaged .* train the run again"):
        training_progress(tmp_path, RunConfig(), DATA)
