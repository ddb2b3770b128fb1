"""How long runs train, by what they are judged: budget, validation, patience, augmentation."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data.augment import AffineJitter, HorizontalFlip
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler, schedule, size_of_groups
from pyro_mlvae.runs.options import DEFAULT_STEPS


def data_of(count, groups, shape=(2,)):
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))
    return GroupedDataset.from_arrays(x, torch.arange(count) % groups)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 3, "steps": 5}, "steps and epochs exclude each other, got 5 and 3"),
        ({"steps": 0}, "steps must be a positive whole number"),
        ({"patience": -1}, "patience must be at least 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must be at least 0 and less than 1"),
        ({"validation_fraction": float("nan")}, "validation_fraction must be at least 0"),
        ({"augment": ("afine",)}, "affine"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        RunConfig(**settings)


def test_a_run_has_one_budget():
    assert RunConfig().budget == {"steps": DEFAULT_STEPS}
    assert RunConfig(steps=7).budget == {"steps": 7}
    assert RunConfig(epochs=7).budget == {"epochs": 7}


def test_the_validation_part_is_of_the_training_part():
    data = data_of(500, 5)
    _, split = RunConfig().split(data)
    _, without = RunConfig(validation_fraction=0.0).split(data)
    assert torch.equal(split.test, without.test)
    assert len(without.validation) == 0
    assert len(split.validation) == 20
    parts = torch.cat([split.train, split.validation])
    assert torch.equal(parts.sort().values, without.train)


def test_where_groups_are_held_out_whole_so_they_are_for_validation():
    data = data_of(3000, 300)
    _, split = RunConfig(hold_out_fraction=0.1).split(data)
    train, validation, test = (
        set(data.group[i].tolist()) for i in (split.train, split.validation, split.test)
    )
    assert (len(train), len(validation), len(test)) == (256, 14, 30)
    assert not train & validation


@pytest.mark.parametrize(("count", "groups", "size"), [(1000, 5, 16), (300, 60, 5)])
def test_held_out_groups_are_of_the_size_of_trainings(count, groups, size):
    data = data_of(count, groups)
    config, split = RunConfig(validation_fraction=0.2, groups_per_batch=5).split(data)
    train, validation, _ = split.of(data)
    assert size_of_groups(config, train) == pytest.approx(size, abs=2)
    found = schedule(config, train, validation)["validation"]
    largest = min(size_of_groups(config, train), int(validation.sizes.max()))
    assert int(found.sizes.max()) == largest
    assert len(found) == len(validation)


@pytest.mark.parametrize(
    ("count", "groups", "options"),
    [
        (1000, 5, {"validation_fraction": 0.2}),
        (1000, 200, {"hold_out_fraction": 0.1, "validation_fraction": 0.1}),
    ],
)
def test_the_training_part_has_as_many_training_observations_in_groups_of_the_same_sizes(
    count, groups, options
):
    data = data_of(count, groups)
    config, split = RunConfig(groups_per_batch=5, **options).split(data)
    train, validation, _ = split.of(data)
    found = schedule(config, train, validation)
    part, held_out = found["training_part"], found["validation"]
    assert sorted(part.sizes.tolist()) == sorted(held_out.sizes.tolist())
    assert {*part.x.flatten().tolist()} <= {*train.x.flatten().tolist()}
    if "hold_out_fraction" not in options:
        assert torch.equal(part.group_id, held_out.group_id)


def test_about_fifty_measurements_are_made():
    data = data_of(1000, 10)
    held_out = data.subset(torch.arange(50))
    config = RunConfig(groups_per_batch=5, observations_per_group=50)  # two minibatches an epoch
    assert schedule(config, data, held_out)["validate_every"] == 2000 // 2 // 50
    assert schedule(RunConfig(epochs=200), data, held_out)["validate_every"] == 4
    assert schedule(RunConfig(epochs=3), data, held_out)["validate_every"] == 1


def test_patience_needs_a_validation_part_and_may_be_off():
    data = data_of(1000, 10)
    held_out = data.subset(torch.arange(50))
    assert schedule(RunConfig(), data, held_out)["patience"] == RunConfig().patience > 0
    assert schedule(RunConfig(patience=0), data, held_out)["patience"] is None
    assert schedule(RunConfig(), data, data.subset(torch.arange(0))) == {"steps": DEFAULT_STEPS}


def test_images_are_augmented_by_name():
    config = RunConfig(augment=("flip", "affine"), seed=3)
    sampler = make_sampler(config, data_of(60, 6, (1, 8, 8)))
    assert isinstance(sampler, AffineJitter)
    assert isinstance(sampler.sampler, HorizontalFlip)
    assert sampler.seed == sampler.sampler.seed == 3
    with pytest.raises(InputError, match=r"augment 'flip' takes images .* got x of shape \[N, 2\]"):
        make_sampler(config, data_of(60, 6))
