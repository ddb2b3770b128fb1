"""Grouped data: from arrays of any kind, through splits and regroupings, to batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mlvae import GroupedBatch, GroupedDataset, InputError, load_dataset
from pyro_mlvae.data import regroup
from pyro_mlvae.data.grouping import random_rank, subsample_groups

from_arrays = GroupedDataset.from_arrays


def numbered(*sizes):
    """Groups of those sizes, permuted; the one value of an observation is its own number."""
    group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    group = group[torch.randperm(len(group))]
    return from_arrays(torch.arange(len(group), dtype=torch.float32)[:, None], group)


@pytest.mark.parametrize(
    ("labels", "names", "group"),
    [
        (["bob", "ann", "bob"], ("ann", "bob"), [1, 0, 1]),
        ([7, -1, 7], (-1, 7), [1, 0, 1]),
        ([("b", 1), ("a", 2), ("b", 1)], (("a", 2), ("b", 1)), [1, 0, 1]),
        (("x", "y", "x"), ("x", "y"), [0, 1, 0]),
        (np.array(["bob", "ann", "bob"]), ("ann", "bob"), [1, 0, 1]),
        (np.array([7, -1, 7], dtype=np.int16), (-1, 7), [1, 0, 1]),
        (torch.tensor([7, -1, 7]), (-1, 7), [1, 0, 1]),
        # What cannot be sorted keeps the order in which it appears.
        (["bob", 3, "bob"], ("bob", 3), [0, 1, 0]),
        ([("b",), "a", 1.5], (("b",), "a", 1.5), [0, 1, 2]),
    ],
    ids=str,
)
def test_labels_of_any_hashable_kind_name_the_groups(labels, names, group):
    data = from_arrays([[0.0], [1.0], [2.0]], labels)
    assert data.group_names == names
    assert data.group.tolist() == group
    assert data.group.dtype == torch.int64
    assert data.num_groups == len(names)
    assert data.sizes.tolist() == [group.count(i) for i in range(len(names))]


def test_without_labels_of_their_own_observations_are_labelled_by_their_group():
    data = from_arrays([[0.0], [1.0]], ["b", "a"])
    assert data.label_names == ("a", "b")
    assert data.label.tolist() == [1, 0]


def test_labels_are_apart_from_groups():
    data = from_arrays([[0.0], [1.0], [2.0]], ["b", "a", "b"], label=[0, 1, 1])
    assert (data.group.tolist(), data.label.tolist()) == ([1, 0, 1], [0, 1, 1])
    assert (data.group_names, data.label_names) == (("a", "b"), (0, 1))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.float64, np.float32])
def test_numbers_of_any_kind_become_floating_point_with_their_values(dtype):
    x = np.array([[0, 1], [1, 1]], dtype=dtype)
    data = from_arrays(x, [0, 1])
    assert data.x.is_floating_point()
    assert data.x.tolist() == [[0.0, 1.0], [1.0, 1.0]]
    assert data.event_shape == (2,)


@pytest.fixture
def _every_warning():
    """PyTorch gives some warnings once a process, which would be in whatever test is first."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("_every_warning")
@pytest.mark.parametrize("layout", ["mirrored", "big-endian", "read-only"])
def test_arrays_of_any_memory_layout_are_read(layout):
    x = np.arange(6.0).reshape(2, 3)
    if layout == "mirrored":
        x = np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    elif layout == "big-endian":
        x = x.astype(">f8")
    else:  # as a memory-mapped file is; a warning of undefined behaviour is not for its user to see
        x.setflags(write=False)
    assert from_arrays(x, [0, 1]).x.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


X = [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize(
    ("x", "group", "sentence"),
    [
        (X, ["a", None, "b"], r"group must be known .* missing \(None\) for observation 1"),
        (X, [0.0, 1.0, math.nan], r"group must be known .* missing \(nan\) for observation 2"),
        (X, np.array([math.nan, 0.0, 1.0]), r"must be known .* \(nan\) for observation 0"),
        (X, np.array(["a", None, "b"], object), r"must be known .* \(None\) for observation 1"),
        (X, ["a", "b"], "group must have one entry for each of x, expected 3, got 2"),
        (X, torch.zeros(4), "group must have one entry for each of x, expected 3, got 4"),
        (X, np.zeros((3, 2), dtype=int), "group must be one column"),
        (X, np.zeros((3, 1, 1)), "group must be one column.*argmax"),
        (X, [[0], [0], [1]], "group must hold hashable values"),
        ([], [], "x must hold at least one observation"),
        (np.zeros((0, 2)), [], "x must hold at least one observation"),
        ([["a"], ["b"], ["c"]], [0, 1, 2], "x must be an array of numbers"),
        ([[0.0], [1.0, 2.0], [3.0]], [0, 1, 2], "x must be an array of numbers"),
        ([[0.0], [None], [2.0]], [0, 1, 2], "x must be an array of numbers"),
        (None, [0], "x must be an array of numbers"),
        (3.0, [0], "x must"),
        ([0.0, 1.0, 2.0], [0, 1, 2], r"x\[:, None\] for scalar observations"),
        ([[0.0], [math.nan], [2.0]], [0, 1, 2], "x must be finite, .* in observation 1"),
        ([[0.0], [1.0], [math.inf]], [0, 1, 2], "x must be finite, .* in observation 2"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_said(x, group, sentence):
    with pytest.raises(InputError, match=sentence):
        from_arrays(x, group)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ([0, 1], "label must have one entry .* expected 3, got 2"),
        ([0, None, 1], "label must be known"),
    ],
)
def test_what_is_wrong_with_evaluation_labels_is_said(label, sentence):
    with pytest.raises(InputError, match=sentence):
        from_arrays(X, ["a", "b", "c"], label)


def test_a_subset_keeps_every_name():
    data = numbered(2, 3, 1)
    part = data.subset((data.group == 1).nonzero().flatten())
    assert (part.group_names, part.label_names) == (data.group_names, data.label_names)
    assert part.sizes.tolist() == [0, 3, 0]
    assert part.label.tolist() == [1, 1, 1]
    assert part.x.flatten().long().tolist() == (data.group == 1).nonzero().flatten().tolist()


def test_a_split_is_disjoint_and_its_union_is_everything():
    data = numbered(1, 2, 5, 30)
    train, held_out = data.split(0.3)
    parts = torch.cat([train.x, held_out.x]).flatten().long()
    assert sorted(parts.tolist()) == list(range(len(data)))
    for part in (train, held_out):
        assert (part.group_names, part.label_names) == (data.group_names, data.label_names)
        index = part.x.flatten().long()
        assert torch.equal(part.group, data.group[index])
        assert torch.equal(part.label, data.label[index])


@pytest.mark.parametrize(
    ("fraction", "held_out"),
    [(0.2, [0, 0, 1, 6]), (0.5, [0, 1, 2, 15]), (0.99, [0, 1, 4, 29]), (0.03, [0, 0, 0, 1])],
)
def test_of_each_group_the_fraction_is_held_out_but_one_observation_kept(fraction, held_out):
    # 0.5 of 5 rounds to the even 2. Singletons are never held out.
    train, test = numbered(1, 2, 5, 30).split(fraction)
    assert test.sizes.tolist() == held_out
    assert (train.sizes + test.sizes).tolist() == [1, 2, 5, 30]
    assert (train.sizes >= 1).all()


def test_a_split_is_its_seeds():
    data = numbered(20, 20)
    one, same, other = (data.split(0.5, seed=seed)[1].x for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 1.5, math.nan])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(InputError, match="held-out fraction must lie between 0 and 1, got"):
        numbered(4, 4).split(fraction)


@pytest.mark.parametrize(
    ("sizes", "fraction", "sentence"),
    [
        ((4, 4), 0.1, "0.1 leaves nothing .* most 4 obs.* at least 0.13, or hold out whole groups"),
        ((2, 2), 0.2, "0.2 leaves nothing .* most 2 obs.* at least 0.26, or hold out whole groups"),
        ((2,), 0.2, "most 2 observations: use a fraction of at least 0.26$"),
        ((1, 1, 1), 0.5, "no group has two obs.*: hold out .* with --hold-out-fraction 0.2"),
        ((1,), 0.5, "no group has two observations, .*: add observations$"),
    ],
)
def test_a_fraction_that_holds_out_nothing_is_refused_with_what_would_help(
    sizes, fraction, sentence
):
    with pytest.raises(InputError, match=sentence):
        numbered(*sizes).split(fraction)


@pytest.mark.parametrize(("sizes", "fraction"), [((4, 4), 0.13), ((2, 2), 0.26), ((7,), 0.08)])
def test_the_fraction_that_is_named_holds_something_out(sizes, fraction):
    assert len(numbered(*sizes).split(fraction)[1])
    with pytest.raises(InputError, match=f"at least {fraction}"):
        numbered(*sizes).split(0.01)


def test_a_batch_of_everything_is_the_data():
    data = numbered(2, 3)
    batch = data.batch()
    assert isinstance(batch, GroupedBatch)
    assert torch.equal(batch.x, data.x)
    assert torch.equal(batch.group, data.group)
    assert batch.num_groups == 2


def test_a_batch_numbers_only_the_groups_that_occur_in_their_order():
    data = from_arrays(torch.arange(5.0)[:, None], list("abcda"))
    batch = data.batch(torch.tensor([3, 0, 1, 4]))
    assert batch.x.flatten().tolist() == [3.0, 0.0, 1.0, 4.0]
    assert batch.group.tolist() == [2, 0, 1, 0]
    assert batch.num_groups == 3


def test_a_batch_takes_another_grouping_of_its_observations():
    data = numbered(3, 3)
    batch = data.batch(torch.tensor([5, 1, 2]), torch.tensor([40, 7, 40]))
    assert batch.x.flatten().tolist() == [5.0, 1.0, 2.0]
    assert batch.group.tolist() == [1, 0, 1]
    assert data.batch(group=torch.arange(6)).num_groups == 6


def test_digits_are_1797_grey_images_of_ten_groups():
    data = load_dataset("digits")
    assert data.x.shape == (1797, 1, 8, 8)
    assert data.x.dtype == torch.float32
    assert (float(data.x.min()), float(data.x.max())) == (0.0, 1.0)
    assert data.group_names == tuple(range(10))
    assert data.sizes.min() > 100


def test_an_unknown_data_set_is_refused_with_the_nearest_name():
    with pytest.raises(
        InputError, match=r"unknown data set 'digit': did you mean 'digits'\? Known are .*digits"
    ):
        load_dataset("digit")


GROUPS = st.lists(st.integers(0, 6), min_size=1, max_size=50).map(torch.tensor)
SEEDS = st.integers(0, 2**32).map(lambda seed: torch.Generator().manual_seed(seed))
examples = settings(max_examples=40, deadline=None, derandomize=True)


@examples
@given(GROUPS, SEEDS)
def test_random_ranks_count_through_each_group(group, generator):
    rank = random_rank(group, generator)
    for g in group.unique():
        assert rank[group == g].sort().values.tolist() == list(range(int((group == g).sum())))


@examples
@given(GROUPS, st.integers(1, 8), SEEDS)
def test_regrouping_cuts_each_group_into_pieces_of_the_size_and_at_most_one_rest(
    group, size, generator
):
    index, new_group = regroup(group, size, generator)
    assert index.tolist() == list(range(len(group)))
    sizes = new_group.bincount()
    for g in group.unique():
        pieces = new_group[group == g].unique()
        n = int((group == g).sum())
        assert sorted(sizes[pieces].tolist()) == sorted(
            [size] * (n // size) + [n % size] * (n % size > 0)
        )
    # Numbered from 0 without gaps, each inside one old group.
    assert sizes.min() > 0
    for piece in range(len(sizes)):
        assert len(group[new_group == piece].unique()) == 1


@examples
@given(GROUPS, st.integers(1, 8), SEEDS)
def test_regrouping_without_smaller_groups_leaves_only_the_size(group, size, generator):
    index, new_group = regroup(group, size, generator, drop_smaller=True)
    assert len(index) == len(new_group) == len(index.unique())
    assert new_group.bincount().tolist() == [size] * int((group.bincount() // size).sum())
    for piece in new_group.unique():
        assert len(group[index[new_group == piece]].unique()) == 1


@examples
@given(GROUPS, st.data(), SEEDS)
def test_subsampling_chooses_up_to_the_size_of_each_group(group, draw, generator):
    limits = torch.tensor(draw.draw(st.lists(st.integers(0, 5), min_size=7, max_size=7)))
    one_a_group = subsample_groups(group, limits, generator)
    assert one_a_group.dtype == torch.bool
    sizes = group.bincount(minlength=7)
    assert torch.equal(group[one_a_group].bincount(minlength=7), torch.minimum(sizes, limits))
    one_for_all = subsample_groups(group, 3, generator)
    assert torch.equal(group[one_for_all].bincount(minlength=7), sizes.clamp(max=3))
