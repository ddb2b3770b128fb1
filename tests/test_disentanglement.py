"""DCI and the mutual information gap: by hand, and where the truth is plain."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from pyro_mlvae import GroupedDataset, ProductOfNormals
from pyro_mlvae.evaluation import disentanglement_metrics
from pyro_mlvae.evaluation.disentanglement import information_gap, of_importances


@dataclass(frozen=True, eq=False)
class Known(GroupedDataset):
    """Three factors of style, x itself: a class, and a pair of numbers."""

    @property
    def style_factors(self):
        x = self.observations()
        return {"kind": x[:, 0].long(), "pair": x[:, 1:]}


class Turned(nn.Module):
    """The codes are x, turned by ``turn``: content the first value, style the others."""

    content_dim, style_dim = 1, 2

    def __init__(self, turn):
        super().__init__()
        self.turn = nn.Parameter(turn)

    def forward(self, x):
        loc, small = x @ self.turn, torch.full((len(x), 3), -9.0)
        return torch.cat([loc[:, :1], small[:, :1], loc[:, 1:], small[:, 1:]], -1)


def known(count, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=generator)
    x[:, 0] = torch.randint(4, (count,), generator=generator)
    return Known.from_arrays(x, torch.arange(count) // 2)


def metrics(turn):
    return disentanglement_metrics(ProductOfNormals(Turned(turn)), known(1000, 0), known(2000, 1))


def test_by_hand():
    importance = np.array([[0.5, 0.5], [0.25, 0.0], [0.0, 0.75]])
    own, shared = (
        1.0,
        0.0,
    )  # of a dimension that serves one factor, and of one that serves both alike
    assert of_importances(importance)[0] == pytest.approx((1.0 * shared + 1.0 * own) / 2)
    p, q = np.array([2, 1]) / 3, np.array([2, 3]) / 5
    entropies = [-(part * np.log(part)).sum() / np.log(3) for part in (p, q)]
    assert of_importances(importance)[1] == pytest.approx(1.0 - np.mean(entropies), abs=1e-12)


def test_a_dimension_and_a_factor_that_are_nothing_to_each_other_change_nothing():
    with_nothing = np.pad(np.eye(2), ((0, 1), (0, 0)))
    assert of_importances(with_nothing) == (1.0, 1.0)
    assert of_importances(np.array([[1.0, 0.0], [0.0, 0.0]])) == (1.0, 1.0)


def test_the_gap_is_the_part_of_a_factors_entropy_that_one_dimension_tells_alone():
    factor = np.arange(400) % 4
    half, nothing = factor // 2, np.arange(400) // 4
    told = information_gap(np.stack([half, nothing], 1).astype(float), factor)
    assert told == pytest.approx(0.5, abs=1e-12)
    both = np.stack([factor, factor], 1).astype(float)
    assert information_gap(both, factor) == pytest.approx(0.0, abs=1e-12)


def test_factors_with_dimensions_of_their_own_are_disentangled_and_turned_ones_are_not():
    own = metrics(torch.eye(3))
    assert min(own["disentanglement"], own["completeness"]) > 0.95
    assert own["informativeness"] > 0.98
    assert own["mutual_information_gap"] > 0.8
    turned = metrics(torch.linalg.qr(torch.randn(3, 3))[0])
    assert max(turned["disentanglement"], turned["mutual_information_gap"]) < 0.5


def test_data_that_does_not_know_its_style_is_not_measured():
    plain = GroupedDataset.from_arrays(torch.zeros(4, 3), [0, 0, 1, 1])
    guide = ProductOfNormals(Turned(torch.eye(3)))
    assert disentanglement_metrics(guide, plain, known(10, 0)) is None
    assert disentanglement_metrics(guide, known(10, 0), plain) is None


def test_a_factor_that_does_not_vary_does_not_count():
    guide = ProductOfNormals(Turned(torch.eye(3)))
    train, test = known(300, 0), known(300, 1)
    test.x[:, 1] = 0.5
    found = disentanglement_metrics(guide, train, test)
    assert found["disentanglement"] > 0.9
    assert found["mutual_information_gap"] > 0.7
    test.x[:, 2] = 0.5
    assert disentanglement_metrics(guide, train, test) is None
