"""Groups held out whole: told apart by content, beside the controls that come for nothing."""

import json

import pytest
import torch
from quick import quickly
from torch import nn

from pyro_mlvae import GroupedDataset, ProductOfNormals, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.evaluation import unseen_metrics
from pyro_mlvae.ops import unbounded
from pyro_mlvae.runs.config import RunConfig


class Informed(nn.Module):
    """An encoder that reads content off the first value of x, or off nothing."""

    def __init__(self, scale):
        super().__init__()
        self.log_scale = nn.Parameter(unbounded(torch.tensor([scale]).log()))
        self.content_dim = self.style_dim = 1

    def forward(self, x):
        log_scale = self.log_scale.expand(len(x), 1)
        return torch.cat([x[:, :1], log_scale, x[:, 1:2], log_scale], -1)


@pytest.fixture
def data():
    """Twelve groups far apart in the first value of x; thirty other values are loud noise."""
    group = torch.arange(12).repeat_interleave(8)
    x = torch.cat([group[:, None] / 3 - 2, 5 * torch.randn(96, 30)], 1)
    return GroupedDataset.from_arrays(x, group)


def test_content_tells_groups_apart_where_pixels_and_ignorance_do_not(data):
    informed, ignorant = (ProductOfNormals(Informed(scale)) for scale in (0.01, 100.0))
    metrics = unseen_metrics(informed, ignorant, data, episodes=300)
    assert metrics["shots"]["1"]["accuracy"] == 1.0
    assert metrics["verification_auc"] == pytest.approx(1.0)
    assert metrics["pixels"]["1"]["accuracy"] < 0.4
    assert metrics["chance"] == 0.2
    assert metrics["groups"] == 12


def test_shots_that_no_group_has_are_none_and_few_groups_mean_fewer_ways(data):
    guide = ProductOfNormals(Informed(1.0))
    few = data.subset((data.group < 3).nonzero().flatten())
    metrics = unseen_metrics(guide, guide, few, shots=(1, 8), episodes=10)
    assert metrics["ways"] == 3
    assert metrics["shots"]["8"] is None
    assert unseen_metrics(guide, guide, data.subset(torch.arange(8))) is None


def test_a_single_unseen_group_is_told_from_the_seen_ones(data):
    informed, ignorant = (ProductOfNormals(Informed(scale)) for scale in (0.01, 100.0))
    new = data.subset((data.group == 3).nonzero().flatten())
    seen = data.subset((data.group != 3).nonzero().flatten())
    metrics = unseen_metrics(informed, ignorant, new, vae=informed, seen=seen)
    assert metrics["shots"] == {"1": None, "5": None}
    assert metrics["ways"] is None
    assert metrics["verification_auc"] == metrics["vae"]["verification_auc"] > 0.99
    assert metrics["pixels"]["verification_auc"] < 0.7


def test_controls_are_measured_like_what_they_control(data):
    guide = ProductOfNormals(Informed(0.5))
    metrics = unseen_metrics(guide, guide, data, vae=guide, episodes=50)
    assert metrics["untrained"] == metrics["vae"]
    assert metrics["untrained"] == {
        **metrics["shots"],
        "verification_auc": metrics["verification_auc"],
    }
    assert metrics["pixels"]["verification_auc"] < metrics["verification_auc"]


def test_protocols_name_ways_shots_and_where_groups_come_from(data):
    # Groups of one super-group are near each other, so that to tell those apart is harder.
    group = torch.arange(50).repeat_interleave(6)
    x = torch.randn(300, 4) + 8.0 * (group // 25)[:, None]
    x[:, 0] += 0.5 * (group % 25)
    parent = {g: g // 25 for g in range(50)}
    guide = ProductOfNormals(Informed(0.3))
    metrics = unseen_metrics(
        guide, guide, GroupedDataset.from_arrays(x, group, parent=parent), episodes=400
    )
    rows = list(metrics["protocols"].values())
    assert next(iter(metrics["protocols"])) == "5-way 1-shot, within a super-group"
    kinds = [(row["ways"], row["shots"], row["within"]) for row in rows]
    assert kinds == [(w, k, within) for within in (True, False) for w in (5, 20) for k in (1, 5)]
    by_kind = dict(zip(kinds, rows, strict=True))
    for row in rows:
        assert row["chance"] == 1 / row["ways"]
        scores = {name: row[name] for name in ("accuracy", "standard_error")}
        assert row["untrained"] == scores
        assert set(row["pixels"]) == set(scores)
    for k in (1, 5):
        mixed = by_kind[5, k, False]
        assert {name: mixed[name] for name in ("accuracy", "standard_error")} == metrics["shots"][
            str(k)
        ]
        for ways in (5, 20):
            assert by_kind[ways, k, True]["accuracy"] < by_kind[ways, k, False]["accuracy"]


def test_protocols_without_enough_groups_or_super_groups_are_left_out(data):
    guide = ProductOfNormals(Informed(1.0))
    rows = unseen_metrics(guide, guide, data, episodes=10)["protocols"].values()
    assert [(row["ways"], row["shots"], row["within"]) for row in rows] == [
        (5, 1, False),
        (5, 5, False),
    ]
    few = data.subset((data.group < 3).nonzero().flatten())
    assert unseen_metrics(guide, guide, few, episodes=10)["protocols"] == {}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unseen") / "run"
    options = ["--data", "linear-gaussian", "--hold-out-fraction", "0.1", "--epochs", "1"]
    options += ["--hidden", "8", "--no-vae"]
    with quickly():
        assert run(["train", "--out", str(folder), "--device", "cpu", *options]) == 0
    return folder


@pytest.mark.usefixtures("quick_evaluation")
def test_held_out_groups_are_recorded_by_name_and_found_again(trained):
    before = json.loads((trained / runs.METRICS).read_text())
    config = json.loads((trained / runs.CONFIG).read_text())
    assert len(config["hold_out_groups"]) == 20
    assert config["hold_out_fraction"] == 0.0
    # What is no image keeps the defaults.
    assert (config["network"], config["content_dim"]) == ("mlp", RunConfig.content_dim)
    assert run(["evaluate", str(trained), "--device", "cpu"]) == 0
    assert json.loads((trained / runs.METRICS).read_text()) | {"seconds": 0} == before | {
        "seconds": 0
    }


def test_metrics_of_unseen_groups_have_no_probe(trained):
    metrics = json.loads((trained / runs.METRICS).read_text())
    assert metrics["split"] == "unseen groups"
    assert metrics["probe"] is None
    assert metrics["unseen"]["groups"] == 20
    assert set(metrics["unseen"]["shots"]) == {"1", "5"}
    assert metrics["unseen"]["shots"]["1"]["accuracy"] > 0.2


def test_evaluating_on_data_of_another_shape_is_refused(trained, capsys):
    assert run(["evaluate", str(trained), "--data", "digits"]) == 2
    assert "observations of shape [1, 8, 8]" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--hold-out-groups", "no-such"], "no group or super-group is called 'no-such'"),
        (["--hold-out-groups", "1", "--hold-out-fraction", "0.1"], "exclude each other"),
        (["--hold-out-fraction", "1.5"], "must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_held_out_ends_with_one_sentence(options, sentence, tmp_path, capsys):
    assert run(["train", "--out", str(tmp_path / "run"), *options]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
