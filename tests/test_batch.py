"""A batch is validated once, where data enters, in sentences that say what to correct."""

import dataclasses

import pytest
import torch

from pyro_mlvae import GroupedBatch, InputError


def index(*values):
    return torch.tensor(values, dtype=torch.int64)


GOOD = {"x": torch.rand(4, 2), "group": index(0, 1, 1, 2), "num_groups": 3}
ONES = torch.ones(4, 2)


def test_a_good_batch_is_taken_as_it_is():
    batch = GroupedBatch(**GOOD, parent=index(0, 1, 0), num_parents=2)
    assert batch.x is GOOD["x"]
    assert batch.group is GOOD["group"]
    assert len(batch) == 4
    assert batch.event_shape == (2,)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": ONES.long()}, "x must be a floating-point tensor .* got torch.int64"),
        ({"x": ONES.bool()}, "x must be a floating-point tensor .* got torch.bool"),
        ({"x": ONES[:0], "group": index()}, r"x must hold at least one .* got shape \[0, 2\]"),
        ({"x": torch.zeros(4)}, r"x must hold .* as \[N, \*event_shape\], got shape \[4\]"),
        ({"x": torch.tensor(1.0)}, r"x must hold .* got shape \[\]"),
        ({"group": index(0, 1, 2)}, "group must have one entry for each of x, expected 4, got 3"),
        ({"group": index(0, 1, 1, 2, 2)}, "group must have one entry .* expected 4, got 5"),
        ({"group": torch.zeros(4)}, r"group must be an int64 tensor .* got torch.float32 \[4\]"),
        ({"group": index(0, 1, 1, 2).int()}, r"group must be an int64 .* got torch.int32 \[4\]"),
        ({"group": index(0, 1, 1, 2)[:, None]}, r"group must be .* one dimension, got .* \[4, 1\]"),
        ({"group": index(0, 1, 1, 3)}, r"group must lie in .* = 0\.\.2, got values from 0 to 3"),
        ({"group": index(0, 1, -1, 2)}, r"group must lie in .* = 0\.\.2, got values from -1 to 2"),
        ({"group": index(0, 0, 2, 2)}, r"every value in 0\.\.num_groups - 1 .* but 1 does not"),
        ({"num_groups": 4}, r"every value in 0\.\.num_groups - 1 must occur in group, but 3 does"),
        ({"parent": index(0, 1), "num_parents": 2}, "of num_groups, expected 3, got 2"),
        ({"parent": index(0, 1, 2), "num_parents": 2}, r"parent must lie in .* = 0\.\.1, got .* 2"),
        ({"parent": index(0, 1, 0)}, r"parent must lie in 0\.\.num_parents - 1"),
        ({"parent": index(0, 0, 0), "num_parents": 2}, "must occur in parent, but 1 does not"),
        ({"parent": torch.zeros(3), "num_parents": 1}, "parent must be an int64 tensor"),
        ({"num_parents": 2}, "num_parents is 2 but parent is None: pass parent"),
    ],
)
def test_what_is_wrong_with_a_batch_is_said(change, sentence):
    with pytest.raises(InputError, match=sentence):
        GroupedBatch(**GOOD | change)


@pytest.mark.parametrize(
    ("rows", "value", "count", "first"),
    [
        ([2], torch.nan, 2, 2),
        ([3], torch.inf, 2, 3),
        ([0], -torch.inf, 2, 0),
        ([1, 2], torch.nan, 4, 1),
    ],
)
def test_every_bad_value_is_counted_and_the_first_observation_named(rows, value, count, first):
    x = torch.zeros(4, 2)
    x[rows] = value
    said = (
        rf"x must be finite, got {count} NaN or infinite value.* the first in observation {first}"
    )
    with pytest.raises(InputError, match=said):
        GroupedBatch(**GOOD | {"x": x})


def test_an_input_error_is_a_value_error_for_code_that_knows_nothing_of_it():
    with pytest.raises(ValueError, match="group must lie in"):
        GroupedBatch(**GOOD | {"group": index(0, 1, 1, 9)})


@pytest.mark.parametrize("name", ["x", "group", "num_groups", "parent", "num_parents"])
def test_a_batch_is_frozen(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(GroupedBatch(**GOOD), name, None)


def test_sizes_count_the_observations_of_each_group():
    assert GroupedBatch(**GOOD).sizes.tolist() == [1, 2, 1]
    # A group at the end without members, which only a trusted batch can have, still has a size.
    assert GroupedBatch.trusted(torch.zeros(2, 1), index(1, 1), 4).sizes.tolist() == [0, 2, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_dtype_is_of_x_and_indices_stay_int64(dtype):
    batch = GroupedBatch(**GOOD, parent=index(0, 1, 0), num_parents=2)
    moved = batch.to("cpu", dtype)
    assert moved.x.dtype == dtype
    assert moved.group.dtype == moved.parent.dtype == torch.int64
    assert torch.equal(moved.x, batch.x.to(dtype))
    assert torch.equal(moved.group, batch.group)
    assert torch.equal(moved.parent, batch.parent)
    assert (moved.num_groups, moved.num_parents) == (3, 2)


def test_a_device_moves_every_tensor():
    # "meta" stands in for a second device, which the machines that run this do not have.
    moved = GroupedBatch(**GOOD, parent=index(0, 1, 0), num_parents=2).to("meta")
    assert {t.device.type for t in (moved.x, moved.group, moved.parent)} == {"meta"}
    assert GroupedBatch(**GOOD).to("meta").parent is None


def test_singletons_are_the_same_observations_each_in_a_group_of_its_own():
    batch = GroupedBatch(**GOOD, parent=index(0, 1, 0), num_parents=2)
    singletons = batch.singletons()
    assert singletons.x is batch.x
    assert singletons.group.tolist() == [0, 1, 2, 3]
    assert singletons.num_groups == 4
    assert singletons.sizes.tolist() == [1, 1, 1, 1]
    assert (singletons.parent.tolist(), singletons.num_parents) == ([0, 1, 1, 0], 2)
    # A batch like any other: it passes the validation that it was spared.
    GroupedBatch(singletons.x, singletons.group, 4, singletons.parent, num_parents=2)


def test_a_trusted_batch_is_checked_by_nothing():
    bad = torch.full((2, 1), torch.nan)
    batch = GroupedBatch.trusted(bad, index(5, -1, 7), 2, index(9), 1)
    assert batch.x is bad
    assert batch.group.tolist() == [5, -1, 7]
    assert (batch.num_groups, batch.parent.tolist(), batch.num_parents) == (2, [9], 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.x = torch.zeros(2, 1)
