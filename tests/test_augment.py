"""Affine jitter: the same groups, every image moved a little, as the seed says."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, GroupSampler, InputError
from pyro_mlvae.data import AffineJitter, HorizontalFlip
from pyro_mlvae.data.augment import augmented

NONE = {"degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}


@pytest.fixture
def sampler():
    x = torch.zeros(12, 1, 15, 15)
    x[:, :, 6:9, 5:10] = 1.0
    return GroupSampler(GroupedDataset.from_arrays(x, torch.arange(12) % 3), 2, 3)


def test_no_jitter_changes_nothing(sampler):
    for a, b in zip(sampler.epoch(0), AffineJitter(sampler, **NONE).epoch(0), strict=True):
        torch.testing.assert_close(a.x, b.x)
        assert torch.equal(a.group, b.group)
        assert a.num_groups == b.num_groups


@pytest.mark.parametrize("kind", list(NONE))
def test_each_kind_moves_every_image_by_itself(sampler, kind):
    amount = {"degrees": 45.0, "scale": 0.5, "shear": 0.7, "shift": 0.2}[kind]
    batch = next(AffineJitter(sampler, **NONE | {kind: amount}).epoch(0))
    assert (batch.x[0] - batch.x[1]).abs().sum() > 0.5
    assert batch.x.isfinite().all()
    assert batch.x.min() >= 0.0
    assert batch.x.max() <= 1.0 + 1e-6


def test_a_shift_is_at_most_what_it_says(sampler):
    rows = torch.arange(15.0)
    for batch in AffineJitter(sampler, **NONE | {"shift": 2 / 15}).epoch(3):
        ink = batch.x.sum((1, 3))
        centre = (ink * rows).sum(-1) / ink.sum(-1)
        assert (centre - 7.0).abs().max() <= 2.0 + 1e-4
        assert (centre - 7.0).abs().max() > 0.1


def test_the_seed_and_the_epoch_decide_the_draws(sampler):
    def first(seed, number):
        return next(AffineJitter(sampler, seed=seed).epoch(number)).x

    assert torch.equal(first(1, 2), first(1, 2))
    assert not torch.equal(first(1, 2), first(2, 2))
    assert not torch.equal(first(1, 2), first(1, 3))


def test_what_is_no_image_is_refused():
    sampler = GroupSampler(GroupedDataset.from_arrays(torch.rand(4, 3), [0, 0, 1, 1]), 2)
    with pytest.raises(InputError, match=r"got x of shape \[N, 3\]"):
        next(AffineJitter(sampler).epoch(0))


def pages(ground):
    """A black bar on pages of a ground of their own, with fields of groups and observations."""
    x = ground[:, None, None, None].expand(-1, 1, 15, 15).clone()
    x[:, :, 6:9, 5:10] = 0.0
    return GroupedDataset.from_arrays(
        x,
        torch.arange(12) % 3,
        parent={0: "a", 1: "b", 2: "b"},
        of_groups={"age": {0: 1.0, 1: 2.0, 2: 3.0}},
        of_observations={"number": torch.arange(12.0)},
    )


def test_what_comes_in_from_outside_is_the_images_own_ground():
    ground = torch.linspace(0.5, 1.0, 12)
    sampler = GroupSampler(pages(ground), 3)
    for batch in AffineJitter(sampler, degrees=45.0, shift=0.2).epoch(0):
        own = ground[batch.of_observations["number"].long()]
        corners = batch.x[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
        torch.testing.assert_close(corners, own[:, None].expand(-1, 4))


@pytest.mark.parametrize("augmentation", [AffineJitter, HorizontalFlip])
def test_a_batch_keeps_what_it_carries(augmentation):
    sampler = GroupSampler(pages(torch.ones(12)), 2, 3)
    for before, batch in zip(sampler.epoch(1), augmentation(sampler).epoch(1), strict=True):
        assert torch.equal(before.group_id, batch.group_id)
        assert torch.equal(before.parent, batch.parent)
        assert torch.equal(before.of_groups["age"], batch.of_groups["age"])
        assert torch.equal(before.of_observations["number"], batch.of_observations["number"])
        assert batch.num_parents == before.num_parents


def test_half_of_the_images_are_mirrored():
    x = torch.zeros(400, 2, 3, 4)
    x[..., 0] = torch.rand(400, 2, 3)
    sampler = GroupSampler(GroupedDataset.from_arrays(x, torch.arange(400) % 3), 3)
    before = next(sampler.epoch(0)).x
    after = next(HorizontalFlip(sampler).epoch(0)).x
    mirrored = (after == before.flip(-1)).all(-1).all(-1).all(-1)
    same = (after == before).all(-1).all(-1).all(-1)
    assert (mirrored ^ same).all()
    assert 150 < int(mirrored.sum()) < 250
    again = next(HorizontalFlip(sampler).epoch(0)).x
    assert torch.equal(after, again)
    assert not torch.equal(after, next(HorizontalFlip(sampler, seed=1).epoch(0)).x)


def test_augmentations_have_names(sampler):
    both = augmented(sampler, ["flip", "affine"], (1, 15, 15), seed=5)
    expected = AffineJitter(HorizontalFlip(sampler, seed=5), seed=5)
    for one, other in zip(both.epoch(2), expected.epoch(2), strict=True):
        assert torch.equal(one.x, other.x)
    assert augmented(sampler, [], (1, 15, 15), seed=5) is sampler


def test_unknown_augmentations_and_what_is_no_image_are_refused(sampler):
    with pytest.raises(InputError, match="augment"):
        augmented(sampler, ["afine"], (1, 15, 15), seed=0)
    with pytest.raises(
        InputError, match=r"augment 'flip' takes images .* got x of shape \[N, 64\]"
    ):
        augmented(sampler, ["flip"], (64,), seed=0)
