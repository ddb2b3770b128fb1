"""An epoch of a sampler: what it visits, how often, and that nothing but the seed decides it."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, GroupSampler, InputError, ObservationSampler
from pyro_mlvae.data import Sampler

SIZES = (1, 2, 5, 9, 3, 4, 7)


@pytest.fixture
def data():
    """Ragged groups in no order; the one value of an observation is its own number."""
    group = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    group = group[torch.randperm(len(group))]
    return GroupedDataset.from_arrays(torch.arange(len(group), dtype=torch.float64)[:, None], group)


def observations(batch):
    return batch.x.flatten().long()


def visited(batches):
    return torch.cat([observations(batch) for batch in batches])


def assert_grouped_as_in(data, batch):
    """Two observations share a group of the batch if and only if they share one of the data."""
    true = data.group[observations(batch)]
    assert torch.equal(batch.group[:, None] == batch.group, true[:, None] == true)
    assert batch.num_groups == len(true.unique()) == int(batch.group.max()) + 1


SAMPLERS = {
    "groups": lambda data, seed=0: GroupSampler(data, 2, 3, seed=seed),
    "whole groups": lambda data, seed=0: GroupSampler(data, 3, seed=seed),
    "observations": lambda data, seed=0: ObservationSampler(data, 10, seed=seed),
}
every_sampler = pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)


@every_sampler
def test_the_batches_are_grouped_as_the_data(make, data):
    for batch in make(data).epoch(0):
        assert_grouped_as_in(data, batch)


@every_sampler
def test_the_same_seed_and_epoch_give_the_same_batches(make, data):
    # Also where other epochs were drawn in between, as when a run is resumed.
    used, fresh = make(data, seed=5), make(data, seed=5)
    for number in (0, 1, 2):
        list(used.epoch(number))
    for one, other in zip(used.epoch(7), fresh.epoch(7), strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.group, other.group)


@every_sampler
def test_other_epochs_and_other_seeds_give_other_batches(make, data):
    def drawn(seed, number):
        return tuple(visited(make(data, seed=seed).epoch(number)).tolist())

    # Seed and epoch are not added up: seed 1 in epoch 0 is not seed 0 in epoch 1.
    assert len({drawn(seed, number) for seed in range(3) for number in range(3)}) == 9


@every_sampler
def test_an_epoch_leaves_the_global_randomness_alone(make, data):
    before = torch.get_rng_state()
    list(make(data).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


@every_sampler
def test_groups_that_are_absent_from_a_part_of_the_data_are_not_visited(make, data):
    part = data.subset(((data.group == 3) | (data.group == 6)).nonzero().flatten())
    batches = list(make(part).epoch(0))
    assert sum(batch.sizes.gt(0).sum().item() for batch in batches) >= 2
    assert set(data.group[visited(batches)].tolist()) == {3, 6}
    assert all(batch.sizes.min() > 0 for batch in batches)


@every_sampler
def test_a_sampler_is_what_training_takes(make, data):
    assert isinstance(make(data), Sampler)


@pytest.mark.parametrize("m", [1, 3, 100, None])
@pytest.mark.parametrize("groups_per_batch", [1, 3, 7, 50])
def test_an_epoch_visits_every_group_once_with_up_to_m_observations(data, groups_per_batch, m):
    batches = list(GroupSampler(data, groups_per_batch, m).epoch(0))
    # Every batch but the last is full.
    full, rest = divmod(len(SIZES), groups_per_batch)
    assert [batch.num_groups for batch in batches] == [groups_per_batch] * full + [rest] * (
        rest > 0
    )
    index = visited(batches)
    assert len(index.unique()) == len(index)
    taken = data.group[index].bincount(minlength=len(SIZES))
    assert taken.tolist() == [n if m is None else min(m, n) for n in SIZES]
    # Each group inside one batch.
    homes = [set(data.group[observations(batch)].tolist()) for batch in batches]
    assert sum(len(home) for home in homes) == len(set().union(*homes)) == len(SIZES)


def test_every_observation_of_a_group_is_as_likely_as_any_other(data):
    epochs, m = 300, 2
    sampler = GroupSampler(data, 7, m, seed=11)
    count = torch.zeros(len(data), dtype=torch.float64)
    for number in range(epochs):
        count[torch.cat([*sampler.indices(number)])] += 1
    n = data.sizes[data.group].double()
    chance = (m / n).clamp(max=1.0)
    sd = (epochs * chance * (1 - chance)).sqrt()
    # Each count is binomial. 31 of them beyond five sd by chance: once in 60,000 seeds.
    assert ((count - epochs * chance).abs() <= 5.0 * sd).all()


def test_every_group_is_as_likely_as_any_other_to_come_first(data):
    epochs = 300
    sampler = GroupSampler(data, 1, 1, seed=11)
    first = torch.cat([data.group[next(sampler.indices(number))] for number in range(epochs)])
    share = 1 / len(SIZES)
    # Binomial again, within five sd.
    bound = 5.0 * (epochs * share * (1 - share)) ** 0.5
    assert ((first.bincount(minlength=len(SIZES)) - epochs * share).abs() <= bound).all()


@pytest.mark.parametrize("size", [1, 10, 31, 100])
def test_an_epoch_of_observations_visits_each_once(data, size):
    batches = list(ObservationSampler(data, size).epoch(0))
    full, rest = divmod(len(data), size)
    assert [len(batch) for batch in batches] == [size] * full + [rest] * (rest > 0)
    assert sorted(visited(batches).tolist()) == list(range(len(data)))


@pytest.mark.parametrize("value", [0, -1, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda data, value: GroupSampler(data, value), "groups_per_batch"),
        (lambda data, value: GroupSampler(data, 2, value), "observations_per_group"),
        (lambda data, value: ObservationSampler(data, value), "observations_per_batch"),
    ],
    ids=["groups_per_batch", "observations_per_group", "observations_per_batch"],
)
def test_sizes_that_are_not_positive_whole_numbers_are_refused_by_name(data, make, name, value):
    with pytest.raises(InputError, match=f"{name} must be a positive whole number, got {value}"):
        make(data, value)


@every_sampler
def test_a_negative_seed_is_refused_by_name(make, data):
    with pytest.raises(InputError, match="seed"):
        list(make(data, seed=-1).epoch(0))
