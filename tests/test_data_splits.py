"""Splits by group, super-groups, and observations that the authors of the data hold out."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError

GROUPS = ["a1", "a2", "a2", "b1", "b2", "b2", "c1", "c1"]
PARENT = {name: {"a": "A", "b": "B", "c": "C"}[name[0]] for name in set(GROUPS)}


@pytest.fixture
def data():
    return GroupedDataset.from_arrays(torch.arange(8.0)[:, None], GROUPS, parent=PARENT)


def names(part):
    return {part.group_names[i] for i in part.group.tolist()}


@pytest.mark.parametrize(
    ("hold_out", "expected"),
    [
        (["a2"], {"a2"}),
        (["B"], {"b1", "b2"}),
        (["A", "c1"], {"a1", "a2", "c1"}),
        (["a1", "a1"], {"a1"}),
    ],
)
def test_groups_are_held_out_by_their_name_or_their_super_groups(data, hold_out, expected):
    train, test = data.split_groups(hold_out)
    assert names(test) == expected
    assert names(train) == set(GROUPS) - expected
    assert len(train) + len(test) == len(data)


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_a_fraction_of_the_groups_is_held_out_whole(data, fraction):
    train, test = data.split_groups(fraction, seed=3)
    assert not names(train) & names(test)
    assert names(train) | names(test) == set(GROUPS)
    assert len(names(test)) == min(max(round(fraction * 5), 1), 4)


def test_the_seed_decides_which(data):
    chosen = {frozenset(names(data.split_groups(0.4, seed=seed)[1])) for seed in range(20)}
    assert len(chosen) > 3
    assert names(data.split_groups(0.4, seed=7)[1]) == names(data.split_groups(0.4, seed=7)[1])


def test_names_that_are_numbers_are_given_as_text():
    train, test = GroupedDataset.from_arrays(torch.rand(3, 1), [7, 8, 9]).split_groups(["9"])
    assert names(train) == {7, 8}
    assert names(test) == {9}


@pytest.mark.parametrize(
    ("hold_out", "sentence"),
    [
        (["b3"], "no group or super-group is called 'b3': near are .*b1"),
        (["A", "B", "C"], "5 of 5 groups would be held out: hold out some, but not all"),
        ([], "0 of 5 groups would be held out"),
        (0.0, "must lie between 0 and 1, got 0.0"),
        (1.5, "must lie between 0 and 1, got 1.5"),
    ],
)
def test_what_cannot_be_held_out_is_said(data, hold_out, sentence):
    with pytest.raises(InputError, match=sentence):
        data.split_groups(hold_out)


def test_data_with_one_group_cannot_hold_one_out():
    with pytest.raises(
        InputError, match=r"at least two groups.*--test-fraction 0.2, in Python split\(0.2\)"
    ):
        GroupedDataset.from_arrays(torch.rand(3, 1), ["only"] * 3).split_groups(0.5)


def test_a_batch_knows_the_super_groups_of_its_groups(data):
    batch = data.batch(torch.tensor([0, 1, 6]))
    assert batch.parent.tolist() == [0, 0, 1]
    assert batch.num_parents == 2
    # Another grouping keeps them, unless it mixes them.
    assert data.batch(torch.tensor([0, 1, 6]), torch.tensor([0, 5, 2])).parent.tolist() == [0, 1, 0]
    assert data.batch(torch.tensor([0, 6]), torch.tensor([0, 0])).parent is None


def test_every_group_needs_its_super_group():
    with pytest.raises(InputError, match="lacks that of 'b'"):
        GroupedDataset.from_arrays(torch.rand(2, 1), ["a", "b"], parent={"a": "A"})


def test_what_the_authors_hold_out_is_the_split():
    held_out = [False, True, False, True]
    data = GroupedDataset.from_arrays(torch.arange(4.0)[:, None], [0, 0, 1, 1], held_out=held_out)
    train, test = data.split(0.9)
    assert train.x.flatten().tolist() == [0.0, 2.0]
    assert test.x.flatten().tolist() == [1.0, 3.0]


def test_held_out_says_one_thing_of_every_observation():
    with pytest.raises(InputError, match="expected 2, got 1"):
        GroupedDataset.from_arrays(torch.rand(2, 1), [0, 1], held_out=[True])
