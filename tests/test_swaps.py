"""Swap consistency: one where swaps show their content, and chance where they do not."""

import pytest
import torch
from torch import nn

from pyro_mlvae import MLVAE, GroupedDataset, NormalLikelihood, ProductOfNormals
from pyro_mlvae.evaluation import Reader, swap_metrics


class Split(nn.Module):
    """Content is the first value of x, style the second."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.content_dim = self.style_dim = 1

    def forward(self, x):
        zero = torch.zeros(len(x), 1)  # the log of a scale of 1
        return torch.cat([x[:, :1], zero, x[:, 1:], zero], -1)


class Join(nn.Module):
    """Puts them together again; or, asked to leak, lets style decide both values."""

    def __init__(self, leak=False):
        super().__init__()
        self.leak = leak

    def forward(self, content, style):
        first = style if self.leak else content
        return (torch.cat(torch.broadcast_tensors(first, style), -1),)


@pytest.fixture
def data():
    """The label is the first value of x, and the second is nothing, or the same again."""

    def make(copied):
        group = torch.arange(4).repeat_interleave(100)
        first = 3 * group + 0.1 * torch.randn(400)
        second = first if copied else torch.randn(400)
        return GroupedDataset.from_arrays(torch.stack([first, second], 1), group)

    return make


def measure(data, leak, **options):
    model, guide = MLVAE(Join(leak), NormalLikelihood(), 1, 1), ProductOfNormals(Split())
    train, test = data.split(0.4, seed=0)
    return swap_metrics(model, guide, test, Reader.train(train), swaps=400, **options)


def test_a_swap_that_shows_its_content_is_consistent(data):
    found = measure(data(copied=False), leak=False)
    assert found["consistency"]["1"] > 0.95
    assert found["consistency"]["10"] > 0.95
    assert found["style_donor"]["1"] < 0.05


def test_a_swap_that_shows_its_style_is_the_style_donors(data):
    found = measure(data(copied=True), leak=True)
    assert found["consistency"]["1"] < 0.05
    assert found["style_donor"]["1"] > 0.95


def test_groups_too_small_for_k_give_none_and_a_single_label_nothing(data):
    found = measure(data(copied=False), leak=False, ks=(1, 41))
    assert found["consistency"]["41"] is None
    assert found["style_donor"]["41"] is None
    one = data(copied=False)
    one = one.subset((one.group == 0).nonzero().flatten())
    reader = Reader.train(data(copied=False))
    guide = ProductOfNormals(Split())
    assert swap_metrics(MLVAE(Join(), NormalLikelihood(), 1, 1), guide, one, reader) is None
