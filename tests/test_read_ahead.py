"""Minibatches formed ahead of the step are the same ones, and no thread outlives its epoch."""

import threading

import pytest
import torch

from pyro_mlvae import GroupedDataset, GroupSampler, InputError
from pyro_mlvae.data import ReadAhead, ahead_if_spare

DATA = GroupedDataset.from_arrays(torch.arange(60.0)[:, None], torch.arange(60) % 11)


@pytest.mark.parametrize("depth", [1, 2, 100])
def test_the_minibatches_are_those_of_the_sampler_in_order(depth):
    sampler = GroupSampler(DATA, 3, 2, seed=1)
    ahead = ReadAhead(sampler, depth)
    for number in (0, 1):
        for a, b in zip(sampler.epoch(number), ahead.epoch(number), strict=True):
            assert torch.equal(a.x, b.x)


def test_an_error_of_the_sampler_comes_through():
    class Broken:
        def epoch(self, number):
            yield DATA.batch()
            raise OSError("the disk is gone")

    batches = ReadAhead(Broken()).epoch(0)
    next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_an_epoch_that_is_left_early_leaves_no_thread():
    before = threading.active_count()
    batches = ReadAhead(GroupSampler(DATA, 1)).epoch(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(("threads", "reads_ahead"), [(1, True), (4, False)])
def test_it_reads_ahead_only_where_a_core_is_left_for_it(monkeypatch, threads, reads_ahead):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sampler = GroupSampler(DATA, 1)
    assert isinstance(ahead_if_spare(sampler), ReadAhead) == reads_ahead


def test_depth_is_positive():
    with pytest.raises(InputError, match="depth must be a positive whole number, got 0"):
        ReadAhead(GroupSampler(DATA, 1), depth=0)
