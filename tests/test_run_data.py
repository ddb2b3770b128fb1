"""The data of a run is recognised wherever it lies; its split is recorded."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from quick import words

from pyro_mlvae import load_dataset, runs
from pyro_mlvae.cli import finishing
from pyro_mlvae.cli.choose import Choice
from pyro_mlvae.cli.main import run
from pyro_mlvae.cli.source import load_for
from pyro_mlvae.runs.split_file import SPLIT

SMALL = words("--epochs 2 --hidden 8 --no-vae --device cpu")


def put(root, groups, numbers):
    for group in groups:
        (root / group).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            # Each picture has its own values, which do not depend on what else is there.
            generator = np.random.default_rng([number, *group.encode()])
            picture = generator.integers(0, 255, (8, 8), dtype="u1")
            Image.fromarray(picture).save(root / group / f"{number:02}.png")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder of images and a run on it."""
    place = tmp_path_factory.mktemp("original")
    put(place / "x", "abcd", range(8))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(finishing, "draw_run", lambda *_, **__: {})
        patch.setattr(finishing, "evaluate", lambda *_, **__: METRICS)
        patch.setattr(finishing, "write_report", lambda folder: folder / runs.REPORT)
        patch.setattr("pyro_mlvae.cli.training.print_results", lambda *_: None)
        assert run(["train", "--data", "folder:x", *SMALL, "--out", "run"]) == 0
    return place


METRICS = {"elbo": {}}


@pytest.fixture
def place(original, tmp_path, monkeypatch):
    """A copy of it, in the place where it was made, as config.json says."""
    for name in ("x", "run"):
        shutil.copytree(original / name, tmp_path / name)
    settings = json.loads((tmp_path / "run" / runs.CONFIG).read_text())
    assert settings["data"] == f"folder:{original / 'x'}"
    settings["data"] = f"folder:{tmp_path / 'x'}"
    (tmp_path / "run" / runs.CONFIG).write_text(json.dumps(settings))
    return tmp_path


@pytest.fixture
def measured(monkeypatch):
    """What is measured, in place of measuring it: the test parts of each evaluation."""
    parts = []

    def note(*arguments, **options):
        parts.append((arguments[3], arguments[4]))
        return METRICS

    for module in ("finishing", "evaluating"):
        monkeypatch.setattr(f"pyro_mlvae.cli.{module}.evaluate", note)
        monkeypatch.setattr(
            f"pyro_mlvae.cli.{module}.write_report", lambda folder: folder / runs.REPORT
        )
    monkeypatch.setattr(finishing, "draw_run", lambda *_, **__: {})
    for module in ("training", "evaluating"):
        monkeypatch.setattr(f"pyro_mlvae.cli.{module}.print_results", lambda *_: None)
    return parts


def pictures(data):
    return {x.numpy().tobytes() for x in data.x}


def parts_of(place):
    """The pictures that the run was trained on, and those held out, as recorded."""
    opened = runs.load_run(place / "run")
    data = load_dataset(f"folder:{place / 'x'}")
    train, _, test = opened.recorded.of(opened.recorded.identity).of(data)
    return pictures(train), pictures(test)


def resume(place, *options):
    return ["train", "--resume", place / "run", "--epochs", 3, *options]


CHANGES = {
    "more pictures": (lambda x: put(x, "a", [8, 9]), "it has 34 observations, not 32"),
    "another group": (
        lambda x: put(x, "e", range(3)),
        "it has 35 observations, not 32, and the group 'e' is new",
    ),
    "a group less": (
        lambda x: shutil.rmtree(x / "c"),
        "it has 24 observations, not 32, and the group 'c' is gone",
    ),
    "a group renamed": (
        lambda x: (x / "c").rename(x / "z"),
        "the group 'z' is new, and the group 'c' is gone",
    ),
    "a file written anew": (
        lambda x: Image.fromarray(np.zeros((8, 8), "u1")).save(x / "b" / "03.png"),
        "1 of 'b' have other values",
    ),
    "another order": (
        lambda x: (x / "b" / "03.png").rename(x / "b" / "99.png"),
        "are in another order",
    ),
    "another size": (
        lambda x: [Image.new("L", (9, 9)).save(file) for file in x.rglob("*.png")],
        "it has observations of shape [1, 9, 9], not [1, 8, 8]",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), CHANGES.values(), ids=CHANGES)
def test_training_does_not_go_on_with_other_data(place, change, sentence, refusal):
    before = {file: file.read_bytes() for file in (place / "run").rglob("*") if file.is_file()}
    change(place / "x")
    said = refusal(*resume(place))
    assert said.startswith(f"folder:{place}/x is not the data that {place}/run was trained on: ")
    assert sentence in said
    assert "say where that lies now with --data, or start a new run with --out" in said
    assert before == {
        file: file.read_bytes() for file in (place / "run").rglob("*") if file.is_file()
    }


def test_data_that_moved_is_named_and_recognised(place, refusal, measured, monkeypatch):
    (place / "elsewhere").mkdir()
    (place / "x").rename(place / "elsewhere" / "y")
    assert f"the folder of images {place}/x does not exist" in refusal(*resume(place))
    put(place / "other", "abcd", range(8, 16))
    said = refusal(*resume(place, "--data", f"folder:{place / 'other'}"))
    assert "32 of 'a', 'b', 'c', 'd' have other values" in said
    # Relative to where the command is given; the run keeps the absolute place.
    monkeypatch.chdir(place / "elsewhere")
    assert run([str(word) for word in resume(place, "--data", "folder:y")]) == 0
    assert (
        json.loads((place / "run" / runs.CONFIG).read_text())["data"]
        == f"folder:{place}/elsewhere/y"
    )
    monkeypatch.chdir(place)
    assert run(["train", "--resume", "run", "--epochs", "4"]) == 0
    assert runs.load_run("run").config.epochs == 4


def test_from_another_folder_the_same_data_is_found(place, measured, monkeypatch):
    # Where a folder of that name holds something else.
    put(place / "here" / "x", "pq", range(20, 24))
    monkeypatch.chdir(place / "here")
    assert run(["train", "--resume", "../run", "--epochs", "3"]) == 0
    assert run(["evaluate", "../run"]) == 0
    for train, test in measured:
        assert (pictures(train), pictures(test)) == parts_of(place)


def test_nothing_that_training_saw_is_measured_when_a_folder_grew(place, measured, capsys):
    expected = parts_of(place)
    put(place / "x", "abcd", range(8, 16))
    put(place / "x", "e", range(4))
    assert run(["evaluate", str(place / "run")]) == 0
    [(train, test)] = measured
    assert (pictures(train), pictures(test)) == expected
    said = capsys.readouterr().err
    assert (
        "is not as it was in training: it has 68 observations, not 32, and the group 'e' is new"
        in said
    )
    assert "8 observations are left and used" in said
    # Nor is it drawn.
    opened = runs.load_run(place / "run")
    choice = Choice.of(load_for(opened, None, None), 0)
    assert pictures(choice.source.data.subset(choice.candidates)) == expected[1]


def test_where_nothing_held_out_is_left_it_is_said(place, measured, refusal):
    for file in (place / "x").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    said = refusal("evaluate", place / "run")
    assert (
        "32 of 'a', 'b', 'c', 'd' have other values, and nothing that was held out then is left"
        in said
    )
    assert not measured


def test_a_copy_of_the_data_is_the_runs_own(place, measured, capsys):
    shutil.copytree(place / "x", place / "copy")
    assert run(["evaluate", str(place / "run"), "--data", f"folder:{place / 'copy'}"]) == 0
    [(train, test)] = measured
    assert (pictures(train), pictures(test)) == parts_of(place)
    assert not list((place / "run").glob("metrics-*"))


def test_of_other_data_what_training_saw_is_left_out(place, measured, capsys, refusal):
    shutil.copytree(place / "x", place / "copy")
    put(place / "copy", "ab", range(8, 11))
    trained_on, held_out = parts_of(place)
    other = f"folder:{place / 'copy'}"
    assert run(["evaluate", str(place / "run"), "--data", other]) == 0
    assert (
        f"left out: 24 observations of {other} that the run was trained on"
        in capsys.readouterr().err
    )
    [(train, test)] = measured
    assert pictures(train) == trained_on
    assert len(test) == 14
    assert held_out < pictures(test)
    for file in (place / "copy").rglob("*.png"):
        if np.asarray(Image.open(file))[None].tobytes() not in trained_on:
            file.unlink()
    said = refusal("evaluate", place / "run", "--data", other)
    assert said == f"the run was trained on all of {other}: name data that it has not seen"


def older(place, **changes):
    """A run as it was before splits were recorded."""
    (place / "run" / SPLIT).unlink()
    settings = json.loads((place / "run" / runs.CONFIG).read_text()) | changes
    (place / "run" / runs.CONFIG).write_text(json.dumps(settings))


def test_a_run_without_a_recorded_split_draws_it_again(place, measured, refusal):
    expected = parts_of(place)
    older(place, format_version=2, data_digest=None)
    assert run(["evaluate", str(place / "run")]) == 0
    [(train, test)] = measured
    assert (pictures(train), pictures(test)) == expected
    shutil.copytree(place / "x", place / "copy")
    said = refusal(*resume(place, "--data", f"folder:{place / 'copy'}"))
    assert "was written before runs recorded what they were trained on" in said
    assert run([str(word) for word in resume(place)]) == 0
    # From now on it is.
    assert runs.load_run(place / "run").recorded is not None


def test_a_recorded_split_that_is_lost_is_drawn_again_from_the_same_data_alone(
    place, measured, refusal
):
    expected = parts_of(place)
    older(place)
    assert run(["evaluate", str(place / "run")]) == 0
    assert (pictures(measured[0][0]), pictures(measured[0][1])) == expected
    put(place / "x", "a", [8])
    said = refusal("evaluate", place / "run")
    assert (
        "is not the data that the run was trained on, and split.safetensors, which says what was"
        in said
    )


def test_whole_groups_stay_held_out_by_their_recorded_split(place, measured):
    data = ["--data", f"folder:{place / 'x'}", "--hold-out-groups", "d"]
    assert run(["train", *data, *SMALL, "--out", f"{place}/r2"]) == 0
    put(place / "x", "d", [8, 9])
    assert run(["evaluate", str(place / "r2")]) == 0
    for train, test in measured:
        assert {train.group_names[i] for i in train.group.tolist()} == set("abc")
        assert len(test) == 8
        assert {test.group_names[i] for i in test.group.tolist()} == {"d"}


def test_the_tensors_of_a_split_are_those_of_training(place):
    recorded = runs.load_run(place / "run").recorded
    split = recorded.of(recorded.identity)
    data = load_dataset(f"folder:{place / 'x'}")
    train, test = data.split(0.2, seed=0)
    seen = torch.cat([split.train, split.validation]).sort().values
    assert torch.equal(data.x[seen], train.x)
    assert torch.equal(data.x[split.test], test.x)
