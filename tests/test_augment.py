"""Affine jitter: the same groups, every image moved a little, as the seed says."""

import pytest
import torch

from pyro_mlvae import GroupedDataset, GroupSampler, InputError
from pyro_mlvae.data import AffineJitter

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
    with pytest.raises(InputError, match=r"got x of shape \[4, 3\]"):
        next(AffineJitter(sampler).epoch(0))
