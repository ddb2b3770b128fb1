"""The validation part of a split: of the training part alone, of whole groups where those count."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data.splits import Split
from pyro_mlvae.data.validation_part import with_validation


def data_of(*sizes):
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return GroupedDataset.from_arrays(torch.arange(float(len(group)))[:, None], group)


def parts(split):
    return [set(index.tolist()) for index in (split.train, split.validation, split.test)]


def test_it_is_taken_from_the_training_part_and_the_test_part_stays():
    data = data_of(*[30] * 10)
    before = Split.by_observations(data, 0.2, seed=0)
    split = with_validation(before, data, 0.1, seed=3)
    train, validation, test = parts(split)
    assert test == parts(before)[2]
    assert train | validation == parts(before)[0]
    assert not train & validation
    assert len(validation) == 24
    for index in (split.train, split.validation):
        assert torch.equal(index, index.sort().values)


def test_the_seed_decides_and_the_choice_is_not_that_of_the_test_part():
    data = data_of(*[30] * 10)
    split = Split.by_observations(data, 0.2, seed=0)
    first, same, other = (parts(with_validation(split, data, 0.1, seed=s))[1] for s in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_the_last_observation_of_a_group_is_never_taken(fraction):
    data = data_of(*[1] * 30, *[2] * 20, 200)
    split = with_validation(Split.holding_out(torch.zeros(270, dtype=torch.bool)), data, fraction)
    assert set(data.group[split.train].tolist()) == set(range(51))
    # What can be spared is taken: 20 of the pairs and 199 of the large group.
    assert len(split.validation) == min(round(fraction * 270), 219)


def test_where_unseen_groups_count_whole_groups_are_held_out():
    data = data_of(*range(5, 125))
    before = Split.by_groups(data, 0.1, seed=0)
    split = with_validation(before, data, 0.1, unseen_groups=True)
    train, validation, test = (
        set(data.group[i].tolist()) for i in (split.train, split.validation, split.test)
    )
    assert len(validation) == 11
    assert not train & validation
    assert train | validation == set(data.group[before.train].tolist())
    assert test == set(data.group[before.test].tolist())
    known = with_validation(before, data, 0.1)
    assert set(data.group[known.train].tolist()) == train | validation


def test_of_few_groups_observations_are_held_out_also_where_groups_are_unseen():
    data = data_of(*[10] * 40)
    split = with_validation(Split.by_groups(data, 0.25), data, 0.1, unseen_groups=True)
    assert len(set(data.group[split.train].tolist())) == 30
    assert len(split.validation) == 30


def test_of_small_data_enough_is_taken_to_say_something():
    data = data_of(*[10] * 10)
    split = with_validation(Split.holding_out(torch.zeros(100, dtype=torch.bool)), data, 0.05)
    assert len(split.validation) == 20


def test_of_groups_of_one_any_may_be_taken():
    data = data_of(*[1] * 300)
    split = with_validation(Split.holding_out(torch.zeros(300, dtype=torch.bool)), data, 0.1)
    assert len(split.validation) == 30


CANNOT = {
    "few": data_of(*[11] * 9),
    "groups of little more than one": data_of(*[1] * 190, *[2] * 10),
}


@pytest.mark.parametrize("data", CANNOT.values(), ids=CANNOT)
def test_what_cannot_be_spared_is_not_taken(data):
    split = Split.holding_out(torch.zeros(len(data), dtype=torch.bool))
    split = with_validation(split, data, 0.1)
    assert len(split.validation) == 0
    assert len(split.train) == len(data)


def test_of_large_data_no_more_is_taken_than_is_measured():
    data = data_of(*[3000] * 10)
    split = with_validation(Split.by_observations(data, 0.2, seed=0), data, 0.5)
    assert len(split.validation) == 2000
    assert len(split.train) == 22_000
    groups = data_of(*[300] * 100)
    split = with_validation(Split.by_groups(groups, 0.1), groups, 0.2, unseen_groups=True)
    assert len(split.validation) == 2000
    assert not set(groups.group[split.train].tolist()) & set(
        groups.group[split.validation].tolist()
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_lies_between_0_and_1(fraction):
    data = data_of(*[30] * 10)
    with pytest.raises(InputError, match="validation_fraction must lie between 0 and 1"):
        with_validation(Split.by_observations(data, 0.2, seed=0), data, fraction)
