"""What a data set is known by, how it differs from another, and the split that goes with it."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data import identity as identity_module
from pyro_mlvae.data.identity import identify
from pyro_mlvae.data.splits import Split
from pyro_mlvae.runs.split_file import SPLIT, RecordedSplit, load_split, save_split

GROUPS = ["a"] * 4 + ["b"] * 3 + ["c"] * 3


def dataset(x=None, groups=GROUPS, **options):
    x = torch.arange(2.0 * len(groups)).reshape(-1, 2) if x is None else x
    return GroupedDataset.from_arrays(x, groups, **options)


def changed(row, value):
    x = torch.arange(20.0).reshape(-1, 2)
    x[row] = value
    return x


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (dataset(), ""),
        (dataset(groups=[*GROUPS, "b"]), "it has 11 observations, not 10"),
        (
            dataset(groups=[*GROUPS, "d", "e"]),
            "it has 12 observations, not 10, and the groups 'd', 'e' are new",
        ),
        (dataset(groups=GROUPS[:7]), "it has 7 observations, not 10, and the group 'c' is gone"),
        (dataset(changed(5, 0.5)), "1 of 'b' have other values"),
        (dataset(torch.zeros(10, 2)), "10 of 'a', 'b', 'c' have other values"),
        (
            dataset(groups=["a"] * 3 + ["b"] * 4 + ["c"] * 3),
            "observations of 'a' are gone, and 'b' have others",
        ),
        (dataset().subset(torch.arange(9, -1, -1)), "its observations are in another order"),
        (dataset(label=[0, 1] * 5), "its labels are others"),
        (
            dataset(groups=["a"] * 4 + ["b"] * 3 + ["z"] * 3),
            "the group 'z' is new, and the group 'c' is gone",
        ),
        (
            dataset(torch.arange(20.0).reshape(-1, 2).double()),
            "10 of 'a', 'b', 'c' have other values",
        ),
    ],
)
def test_a_difference_is_said_in_words(now, sentence):
    assert identify(dataset()).difference(identify(now)) == sentence


def test_many_names_are_cut_short():
    said = identify(dataset()).difference(identify(dataset(groups=[*GROUPS, *"defghij"])))
    assert "the groups 'd', 'e', 'f', 'g', 'h' and 2 more are new" in said


def test_an_identity_is_that_of_the_bytes_wherever_they_lie(tmp_path):
    x = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2)
    np.save(tmp_path / "x.npy", x)
    on_disk = dataset(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert on_disk.on_disk
    assert identify(on_disk).digest == identify(dataset(torch.from_numpy(x))).digest
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert len(identify(dataset(torch.from_numpy(x).to(dtype))).key.unique()) == 10


def test_of_large_data_a_part_is_read_and_the_rest_known_by_its_position(monkeypatch):
    monkeypatch.setattr(identity_module, "MOST_ROWS", 4)
    first = identify(dataset())
    assert first.every == 3
    seen, unseen = identify(dataset(changed(6, 0.5))), identify(dataset(changed(5, 0.5)))
    assert first.difference(seen) == "1 of 'b' have other values"
    assert first.difference(unseen) == ""
    grown = identify(dataset(groups=[*GROUPS, *"cccccc"]), every=first.every)
    assert first.places_of(grown.key).tolist() == [*range(10), *[-1] * 6]


def test_names_that_are_no_text_have_an_identity():
    assert len(identify(dataset(groups=["\udce9"] * 4 + ["e"] * 6)).key.unique()) == 10


def split():
    return Split(torch.tensor([0, 1, 4, 7]), torch.tensor([2, 5]), torch.tensor([3, 6, 8]))


def parts(found):
    return [found.train.tolist(), found.validation.tolist(), found.test.tolist()]


def test_a_split_is_read_as_it_was_written(tmp_path):
    identity = identify(dataset(groups=["\udce9", *GROUPS[1:]]))
    save_split(tmp_path, RecordedSplit.record(split(), identity))
    found = load_split(tmp_path)
    assert found.identity.digest == identity.digest
    assert found.identity.group_names == ("a", "b", "c", "\udce9")
    assert parts(found.of(found.identity)) == parts(split())
    assert load_split(tmp_path / "nowhere") is None


def test_in_data_that_grew_shrank_or_was_put_in_order_each_keeps_its_part():
    recorded = RecordedSplit.record(split(), identify(dataset()))
    grown = dataset(groups=[*GROUPS, "a", "d"])
    assert parts(recorded.of(identify(grown))) == parts(split())
    backwards = identify(dataset().subset(torch.arange(9, -1, -1)))
    assert parts(recorded.of(backwards)) == [[2, 5, 8, 9], [4, 7], [1, 3, 6]]
    assert parts(recorded.of(identify(dataset().subset(torch.tensor([0, 3, 9]))))) == [[0], [], [1]]
    # In another group it is another observation.
    assert parts(recorded.of(identify(dataset(groups=["z"] * 10)))) == [[], [], []]


def damaged(path, **changes):
    tensors = load_file(path / SPLIT)
    with safe_open(path / SPLIT, framework="pt") as file:
        metadata = file.metadata()
    for name, change in changes.items():
        where = tensors if name in tensors else metadata
        where[name] = change
    save_file(tensors, path / SPLIT, {k: v for k, v in metadata.items() if v is not None})


@pytest.mark.parametrize(
    "change",
    [
        {"key": torch.zeros(3, dtype=torch.int64)},
        {"group": torch.full((10,), 3)},
        {"part": torch.full((10,), 4, dtype=torch.uint8)},
        {"part": torch.zeros(10)},
        {"group_names": "{"},
        {"group_names": '{"a": 1}'},
        {"every": "0"},
        {"labels": None},
        {"format_version": None},
    ],
    ids=str,
)
def test_a_damaged_split_is_refused_in_a_sentence(tmp_path, change):
    save_split(tmp_path, RecordedSplit.record(split(), identify(dataset())))
    damaged(tmp_path, **change)
    with pytest.raises(
        InputError, match=r"split.safetensors is damaged \(.*\): restore it, or remove it"
    ):
        load_split(tmp_path)


def test_a_split_of_a_later_version_is_said(tmp_path):
    save_split(tmp_path, RecordedSplit.record(split(), identify(dataset())))
    damaged(tmp_path, format_version="9")
    with pytest.raises(InputError, match="has format_version '9', expected '1': use the version"):
        load_split(tmp_path)
    (tmp_path / SPLIT).write_bytes(b"no tensors")
    with pytest.raises(InputError, match="damaged"):
        load_split(tmp_path)
