"""A data set of PyTorch's that is read lazily, and PyTorch's own loader over whole groups."""

import pytest
import torch
from fitting import fit_small, make_pair, small_data
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pyro_mlvae import GroupedDataset, GroupSampler, InputError, ObservationSampler
from pyro_mlvae.data import BatchIndices, ReadAhead, from_torchvision

PEOPLE = [i % 4 for i in range(24)]


class Counted(Dataset):
    """Pairs of x and a target, which remembers what was read."""

    def __init__(self, x, targets=PEOPLE):
        self.x, self.targets, self.read = x, targets, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        self.read.append(i)
        return self.x[i], self.targets[i]


def test_only_what_a_minibatch_asks_for_is_read():
    whole = small_data()
    source = Counted(whole.x)
    data = from_torchvision(source, PEOPLE, lazy=True)
    assert source.read == [0]
    assert data.on_disk
    train, test = data.split(0.25, seed=1)
    source.read.clear()
    batch = next(GroupSampler(train, 2, 2).epoch(0))
    assert len(source.read) == len(batch) == 4
    assert torch.equal(test.observations(), whole.split(0.25, seed=1)[1].x)


def test_training_on_lazy_data_is_training_on_what_it_holds():
    whole = small_data()
    lazy = from_torchvision(
        Counted(whole.x), lambda target: target, lambda target: -target, lazy=True
    )
    assert lazy.group_names == (0, 1, 2, 3)
    assert lazy.label_names == (-3, -2, -1, 0)
    elbos = [fit_small(*make_pair(), data=data).epochs[-1].objective for data in (whole, lazy)]
    assert elbos[0] == elbos[1]
    ahead = [batch.x for batch in ReadAhead(GroupSampler(lazy, 3)).epoch(1)]
    for x, batch in zip(ahead, GroupSampler(whole, 3).epoch(1), strict=True):
        assert torch.equal(x, batch.x)


def test_images_are_read_lazily_as_they_are_at_once():
    images = [(Image.new("RGB", (4, 3), (i, 0, 0)), i % 2) for i in range(6)]
    lazy, whole = from_torchvision(images, lazy=True), from_torchvision(images)
    assert lazy.x.dtype == torch.uint8
    assert lazy.event_shape == (3, 3, 4)
    assert torch.equal(lazy.observations(), whole.observations())
    assert lazy.subset(torch.tensor([], dtype=torch.int64)).observations().shape == (0, 3, 3, 4)


def test_whole_numbers_are_read_as_floating_point_and_observations_need_no_target():
    data = from_torchvision(
        list(torch.arange(12).reshape(6, 2)), list("aabbcc"), list("xyxyxy"), lazy=True
    )
    assert data.observations().dtype == torch.float32
    assert data.label_names == ("x", "y")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], r"at least one item"),
        ([(torch.zeros(2), 0, 1)], r"pairs of an observation and a target, but item 0 is none"),
        ([torch.zeros(2)], r"must be pairs .*give the names of groups"),
        ([("text", 0)], r"observations must be images, arrays or tensors, got a str"),
        ([(torch.zeros(3, 3, dtype=torch.complex64), 0)], r"x must hold real numbers"),
    ],
)
def test_items_of_another_form_get_one_sentence(items, sentence, lazy):
    with pytest.raises(InputError, match=sentence):
        from_torchvision(items, lazy=lazy)


def test_what_is_wrong_with_a_later_item_is_said_when_it_is_read():
    items = [(torch.zeros(2), 0), (torch.zeros(3), 0), (torch.tensor([0.0, torch.nan]), 1)]
    data = from_torchvision(items, lazy=True)
    for i, sentence in ((1, r"item 1 has \[3\]"), (2, "x must be finite")):
        with pytest.raises(InputError, match=sentence):
            data.batch(torch.tensor([i]))
    with pytest.raises(
        InputError, match="group must have one entry for each of x, expected 3, got 2"
    ):
        from_torchvision(items, ["a", "b"], lazy=True)


def test_a_loader_gets_whole_groups_anew_in_every_epoch():
    x = torch.arange(24.0)[:, None]
    data = GroupedDataset.from_arrays(x, PEOPLE)
    sampler = GroupSampler(data, 2, seed=3)
    indices = BatchIndices(sampler)
    loader = DataLoader(TensorDataset(x, data.group), batch_sampler=indices)
    assert len(loader) == 2
    for epoch in range(2):
        for (rows, group), batch in zip(loader, sampler.epoch(epoch), strict=True):
            assert torch.equal(rows, batch.x)
            assert sorted(group.tolist()) == sorted(batch.group_id[batch.group].tolist())
    indices.set_epoch(0)
    assert [index.tolist() for index in sampler.indices(0)] == list(indices)
    assert len(BatchIndices(ObservationSampler(data, 7))) == 4
    with pytest.raises(InputError, match=r"sampler must give indices.*got a ReadAhead"):
        BatchIndices(ReadAhead(sampler))
