"""Fields of groups and observations: in every view of a batch, and in every minibatch."""

import numpy as np
import pytest
import torch

from pyro_mlvae import GroupedBatch, GroupedDataset, GroupSampler, InputError
from pyro_mlvae.data.arrays import load_npz

NAMES = ["ann", "bob", "ann", "cem", "bob", "ann"]
AGE = {"ann": 30.0, "bob": 40.0, "cem": 50.0}
PARENT = {"ann": "x", "bob": "y", "cem": "x"}


@pytest.fixture
def data():
    x = torch.arange(6.0)[:, None]
    return GroupedDataset.from_arrays(
        x, NAMES, parent=PARENT, of_groups={"age": AGE}, of_observations={"day": x[:, 0].numpy()}
    )


def is_whole(batch):
    """Every observation and group has its own fields, by the names that x and group_id give."""
    rows = batch.x[:, 0].long()
    assert batch.of_observations["day"].tolist() == batch.x[:, 0].tolist()
    names = [sorted(AGE)[i] for i in batch.group_id.tolist()]
    assert batch.of_groups["age"].tolist() == [AGE[name] for name in names]
    assert [names[g] for g in batch.group.tolist()] == [NAMES[row] for row in rows.tolist()]
    assert len(batch.parent) == batch.num_groups
    return True


VIEWS = {
    "batch": lambda data: data.batch(),
    "part": lambda data: data.batch(torch.tensor([1, 3, 4])),
    "members": lambda data: data.batch().members(torch.tensor([0, 3, 5])),
    "singletons": lambda data: data.batch().singletons(),
    "alone": lambda data: data.batch().alone(),
    "to": lambda data: data.batch().to("cpu", torch.float64),
    "subset": lambda data: data.subset(torch.tensor([2, 4, 5])).batch(),
    "split": lambda data: data.split_groups(["bob"])[0].batch(),
    "regrouped": lambda data: data.batch(torch.tensor([0, 1, 2, 5]), torch.tensor([7, 3, 7, 9])),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_every_view_carries_them(view, data):
    assert is_whole(view(data))


def test_every_minibatch_carries_them(data):
    for epoch in range(3):
        assert all(is_whole(batch) for batch in GroupSampler(data, 2, 2).epoch(epoch))


def test_floating_fields_follow_the_dtype_and_others_do_not(data):
    batch = GroupedBatch(
        torch.zeros(2, 1), torch.tensor([0, 1]), 2,
        of_groups={"age": torch.ones(2), "kind": torch.tensor([0, 1])},
    ).to(dtype=torch.float64)  # fmt: skip
    assert batch.of_groups["age"].dtype == torch.float64
    assert batch.of_groups["kind"].dtype == torch.int64


def test_a_group_that_mixes_several_knows_none_of_their_fields(data):
    batch = data.batch(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1]))
    assert batch.group_id.tolist() == [-1, 2]
    with pytest.raises(InputError, match=r"of_groups\['age'\], but the data has none"):
        batch.of_groups["age"]
    assert batch.of_observations["day"].tolist() == [0.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"of_groups": {"age": [1.0, 2.0]}}, r"of_groups\['age'\] must have one entry for each of"),
        ({"of_groups": {"age": {"ann": 1.0}}}, r"lacks that of 'bob' and 1 more"),
        ({"of_groups": {"age": [1.0, 2, 3, 4, 5, 6]}}, r"the same for all .* differs in 'ann'"),
        ({"of_observations": {"day": [1.0]}}, r"of the 6 observations, got shape \[1\]"),
        ({"of_observations": {"day": [np.nan] * 6}}, r"of_observations\['day'\] must be finite"),
        ({"of_observations": {"day": ["mon"] * 6}}, r"must hold numbers"),
    ],
)
def test_a_field_that_does_not_fit_is_refused(fields, sentence):
    with pytest.raises(InputError, match=sentence):
        GroupedDataset.from_arrays(torch.zeros(6, 1), NAMES, **fields)


def test_a_batch_refuses_a_field_of_another_length():
    with pytest.raises(
        InputError, match=r"of_groups\['age'\] must be a tensor with one entry for each of"
    ):
        GroupedBatch(torch.zeros(2, 1), torch.tensor([0, 1]), 2, of_groups={"age": torch.ones(3)})


def test_a_missing_field_is_named_with_where_to_give_it(data):
    with pytest.raises(
        InputError, match=r"of_groups\['dose'\], but the data has 'age': .*from_arrays"
    ):
        data.batch().of_groups["dose"]


def test_they_are_read_from_npz(tmp_path):
    arrays = {"of_groups.age": [AGE[name] for name in NAMES], "of_observations.day": np.arange(6.0)}
    np.savez(tmp_path / "a.npz", x=np.arange(6.0)[:, None], group=NAMES, **arrays)
    data = load_npz(tmp_path / "a.npz")
    assert data.of_groups["age"].tolist() == [30.0, 40.0, 50.0]
    assert data.batch(torch.tensor([4])).of_observations["day"].tolist() == [4.0]
