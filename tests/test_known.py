"""Groups that training saw, in other data: told by name, probed; the others told apart."""

import json

import numpy as np
import pytest
import torch
from quick import quickly

from pyro_mlvae import GroupedDataset, InputError, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.evaluation.known import in_known_groups, labelled_like

pytestmark = pytest.mark.usefixtures("quick_evaluation")

NAMES = ["ann", "bob", "cid", "dan"]


def people(names, seed=0, count=12, scale=1.0):
    """Observations of people, each around a place of its own in [0, 1]."""
    rng = np.random.default_rng(seed)
    group = np.repeat(names, count)
    place = np.array(
        [[0.2 + 0.1 * (ord(name[0]) - 96), 0.9 - 0.1 * (ord(name[0]) - 96)] for name in group]
    )
    x = np.concatenate([place, 0.5 * np.ones((len(group), 2))], 1) + 0.02 * rng.normal(
        size=(len(group), 4)
    )
    return scale * x.clip(0.0, 1.0), group


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    x, group = people(NAMES)
    np.savez(folder / "first.npz", x=x, group=group)
    options = ["--epochs", "2", "--hidden", "8", "--device", "cpu", "--no-vae"]
    command = ["train", "--data", f"npz:{folder / 'first.npz'}", "--out", str(folder / "run")]
    with quickly():
        assert run([*command, *options]) == 0
    return folder


def evaluated(trained, name, x, group):
    """The metrics of the run on other data, which is called ``name``."""
    np.savez(trained / f"{name}.npz", x=x, group=group)
    data = f"npz:{trained / name}.npz"
    assert run(["evaluate", str(trained / "run"), "--data", data, "--device", "cpu"]) == 0
    (file,) = (trained / "run").glob(f"metrics-*{name}.npz.json")
    return json.loads(file.read_text())


def test_a_run_records_the_names_of_its_groups_and_its_range(trained):
    config = json.loads((trained / "run" / runs.CONFIG).read_text())
    assert config["format_version"] == 3
    assert config["trained_groups"] == NAMES
    assert config["value_range"] == pytest.approx([0.2, 0.85], abs=0.1)
    opened = runs.load_run(trained / "run")
    assert opened.trained_groups == tuple(NAMES)
    assert opened.value_range == tuple(config["value_range"])


def test_new_observations_of_known_groups_are_probed(trained):
    metrics = evaluated(trained, "new", *people(NAMES, seed=1))
    assert metrics["split"] == "known groups, new observations"
    assert metrics["probe"]["content"]["1"]["accuracy"] > 0.9
    assert metrics["unseen"] is None
    assert metrics["swap"]["reader_accuracy"] > 0.6
    page = (trained / "run" / "report.html").read_text()
    assert "known groups, new observations" in page


def test_unseen_groups_get_few_shot_and_verification(trained):
    metrics = evaluated(trained, "others", *people(["eve", "flo", "gus"], seed=1))
    assert metrics["split"] == "unseen groups"
    assert metrics["probe"] is None
    assert metrics["unseen"]["groups"] == 3
    assert metrics["unseen"]["verification_auc"] is not None


def test_data_of_both_kinds_is_split_by_name(trained):
    x, group = people(["dan", "eve", "ann", "flo"], seed=2)
    metrics = evaluated(trained, "both", x, group)
    assert metrics["split"] == "known and unseen groups"
    assert metrics["unseen"]["groups"] == 2
    # By name, though ann has another number here: 24 observations of two people.
    assert metrics["probe"]["chance"] == 0.5
    assert metrics["probe"]["content"]["1"]["accuracy"] > 0.9
    assert metrics["elbo"]["observations"] == 48


def test_without_its_own_data_a_run_is_still_evaluated_on_other_data(trained, capsys):
    (trained / "first.npz").rename(trained / "away.npz")
    try:
        metrics = evaluated(trained, "alone", *people(NAMES, seed=3))
        assert "no probe is trained" in capsys.readouterr().err
        assert metrics["split"] == "known groups, new observations"
        assert metrics["probe"] is None
    finally:
        (trained / "away.npz").rename(trained / "first.npz")


def as_version_1(folder):
    settings = json.loads((folder / runs.CONFIG).read_text())
    for key in ("trained_groups", "value_range"):
        settings.pop(key)
    (folder / runs.CONFIG).write_text(json.dumps(settings | {"format_version": 1}))
    return settings


def test_a_run_of_version_1_opens_and_learns_its_groups_from_its_data(trained, capsys):
    config = trained / "run" / runs.CONFIG
    before = config.read_text()
    try:
        as_version_1(trained / "run")
        opened = runs.load_run(trained / "run")
        assert (opened.trained_groups, opened.value_range) == ((), None)
        assert (
            evaluated(trained, "old", *people(NAMES, 4))["split"]
            == "known groups, new observations"
        )
        (trained / "first.npz").rename(trained / "away.npz")
        data = f"npz:{trained / 'old.npz'}"
        assert run(["evaluate", str(trained / "run"), "--data", data, "--device", "cpu"]) == 2
        assert (
            "does not say which groups it was trained on"
            in capsys.readouterr().err.splitlines()[-1]
        )
    finally:
        config.write_text(before)
        (trained / "away.npz").rename(trained / "first.npz")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trained_groups", "ann"),
        ("trained_groups", [1]),
        ("trained_groups", None),
        ("value_range", [1.0]),
        ("value_range", [2.0, 1.0]),
        ("value_range", [0.0, float("nan")]),
        ("value_range", "ab"),
        ("event_shape", [0]),
    ],
)
def test_what_a_config_says_of_its_data_is_checked(trained, key, value, tmp_path):
    settings = json.loads((trained / "run" / runs.CONFIG).read_text())
    (tmp_path / runs.CONFIG).write_text(json.dumps(settings | {key: value}))
    with pytest.raises(InputError, match=rf"config.json: .*{key} must be"):
        runs.load_config(tmp_path)


@pytest.mark.parametrize(
    ("scale", "shift", "says"),
    [(255.0, 0.0, "to 2"), (2.0, -1.0, "from -0"), (0.01, 0.4, "from 0.4")],
)
def test_data_on_another_scale_is_refused_and_both_ranges_named(
    trained, capsys, scale, shift, says
):
    x, group = people(NAMES, seed=1)
    np.savez(trained / "scaled.npz", x=scale * x + shift, group=group)
    data = f"npz:{trained / 'scaled.npz'}"
    assert run(["evaluate", str(trained / "run"), "--data", data, "--device", "cpu"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "has values from" in last
    assert "but training had values from 0." in last
    assert says in last
    assert not (trained / "run" / "metrics-npz-scaled.json").exists()


def test_groups_are_compared_as_text():
    data = GroupedDataset.from_arrays(torch.zeros(4, 1), [3, 5, 3, 7])
    assert in_known_groups(data, {"3", "7"}).tolist() == [True, False, True, True]


def test_labels_that_training_lacks_are_left_out_and_the_others_have_its_numbers():
    train = GroupedDataset.from_arrays(torch.zeros(3, 1), ["b", "c", "d"]).subset(
        torch.tensor([0, 2])
    )
    data = GroupedDataset.from_arrays(torch.arange(4.0)[:, None], ["c", "d", "b", "a"])
    same = labelled_like(data, train)
    assert same.x.flatten().tolist() == [1.0, 2.0]
    assert same.label.tolist() == [2, 0]
    assert same.label_names == ("b", "c", "d")
