"""Swaps against a truth that can be rendered, and how much of the donor's style they keep."""

from dataclasses import dataclass

import pytest
import torch
from test_swaps import Join, Split

from pyro_mlvae import MLVAE, GroupedDataset, NormalLikelihood, ProductOfNormals
from pyro_mlvae.evaluation import Reader, Renders, evaluate, swap_metrics, truth_metrics


@dataclass(frozen=True, eq=False)
class Rendered(GroupedDataset):
    """Pairs of a number of the group and one of the observation, which go with any other."""

    def render(self, content_of, style_of):
        x = self.observations()
        return torch.stack([x[content_of, 0], x[style_of, 1]], 1)


@pytest.fixture
def data():
    group = torch.arange(4).repeat_interleave(50)
    return Rendered.from_arrays(torch.stack([1.0 + group, torch.randn(200)], 1), group)


def pair(join=None):
    return MLVAE(join or Join(), NormalLikelihood(), 1, 1), ProductOfNormals(Split())


class Blank(Join):
    """Shows nothing, whatever the codes."""

    def forward(self, content, style):
        return (torch.zeros_like(super().forward(content, style)[0]),)


class Wrong(Join):
    """Shows the style's negative."""

    def forward(self, content, style):
        return super().forward(content, -style)


class Plain(Join):
    """Shows content, and none of the style."""

    def forward(self, content, style):
        return super().forward(content, 0.0 * style)


def test_a_swap_that_is_the_truth_has_no_error_and_a_blank_has_one(data):
    assert isinstance(data, Renders)
    found = truth_metrics(*pair(), data)
    assert found["error"] == {"1": pytest.approx(0.0, abs=1e-9), "5": pytest.approx(0.0, abs=1e-9)}
    assert found["blank"] == 1.0
    assert found["nearest_training"] is None
    # Every swap is in the training data.
    every = torch.cartesian_prod(torch.arange(200), torch.arange(200))
    train = GroupedDataset.from_arrays(data.render(*every.mT), torch.zeros(40_000))
    assert (
        truth_metrics(*pair(), data, train=train.sample(20_000), swaps=200)["nearest_training"]
        < 0.01
    )
    assert truth_metrics(*pair(Blank()), data)["error"]["1"] == pytest.approx(1.0)


def test_the_donors_themselves_have_the_errors_that_follow_from_the_data(data):
    found = truth_metrics(*pair(), data, swaps=20_000)
    # Groups 1 to 4 that differ: the mean square of a difference is 10 / 3, of a content 7.5; styles
    # have a variance of 1, so that those of two observations differ by 2.
    x = data.x.double()
    variance = x[:, 1].var(correction=0)
    square = 7.5 + float(x[:, 1].square().mean())
    assert found["copy_style_donor"] == pytest.approx((10 / 3) / square, rel=0.05)
    assert found["copy_content_donor"] == pytest.approx(2.0 * float(variance) / square, rel=0.1)


def test_a_k_that_no_group_has_is_none_and_data_without_a_truth_too(data):
    assert truth_metrics(*pair(), data, ks=(1, 51))["error"]["51"] is None
    plain = GroupedDataset.from_arrays(data.x, data.group)
    assert truth_metrics(*pair(), plain) is None
    assert truth_metrics(*pair(), data.subset(torch.arange(50))) is None


def test_style_is_kept_by_a_swap_that_shows_it_and_by_no_other(data):
    kept = {
        join: swap_metrics(*pair(join()), data, None, swaps=2000)["style_kept"]["1"]
        for join in (Join, Plain, Wrong)
    }
    assert kept[Join] == pytest.approx(1.0)
    assert kept[Plain] == pytest.approx(
        0.0, abs=0.01
    )  # the mean style, but for the mean of the donors
    assert kept[Wrong] == pytest.approx(-3.0, abs=0.1)


def test_without_a_reader_only_what_needs_none_is_known(data):
    found = swap_metrics(*pair(), data, None, ks=(1, 51), swaps=100)
    assert found["consistency"] == found["style_zeroed"] == {"1": None, "51": None}
    assert found["style_kept"]["1"] is not None
    assert found["style_kept"]["51"] is None


class Loud(Join):
    """Style shifts what content shows from one group to another."""

    def forward(self, content, style):
        return super().forward(content + 5.0 * style, style)


def test_style_set_to_zero_shows_content_where_style_would_decide(data):
    train, test = data.split(0.4, seed=0)
    reader = Reader.train(train)
    shown = swap_metrics(*pair(), test, reader, ks=(1,), swaps=1000)
    loud = swap_metrics(*pair(Loud()), test, reader, ks=(1,), swaps=1000)
    assert shown["style_zeroed"]["1"] == loud["style_zeroed"]["1"] > 0.6
    assert loud["consistency"]["1"] < 0.4


def test_the_error_of_style_set_to_zero_counts_contents_and_not_swaps():
    """One content has one swap of zero style, which the reader takes for another's at times."""
    group = torch.arange(4).repeat_interleave(100)
    x = torch.stack([group + 0.6 * torch.randn(400), torch.randn(400)], 1)
    train, test = GroupedDataset.from_arrays(x, group).split(0.4, seed=0)
    found = swap_metrics(*pair(), test, Reader.train(train), ks=(1,), swaps=5000)
    hits = found["style_zeroed"]["1"]
    assert 0.4 < hits < 0.9
    binomial = (hits * (1.0 - hits) / len(test)) ** 0.5
    assert 0.8 * binomial <= found["standard_error"]["style_zeroed"]["1"] <= 1.5 * binomial


@pytest.mark.usefixtures("quick_evaluation")
def test_the_vae_gets_every_number_of_the_model_and_unseen_groups_those_without_labels(data):
    train, test = data.split(0.4, seed=0)
    model, guide = pair()
    metrics = evaluate(model, guide, guide, train, test, vae=(model, guide), data_name="d", ks=(1,))
    swap, vae = metrics["swap"], metrics["swap"]["vae"]
    assert set(vae) == set(swap) - {"vae", "reader_accuracy"}
    assert vae == {name: swap[name] for name in vae}
    assert swap["truth"]["error"]["1"] == pytest.approx(0.0, abs=1e-9)
    # These are of groups that training saw; the nearest of its observations is no donor, and no
    # copy.
    assert swap["truth"]["seen"] is None
    assert 0.0 < swap["truth"]["nearest_training"] < swap["truth"]["copy_style_donor"]
    assert metrics["factors"] is None  # nobody says what style was made from
    unseen = evaluate(model, guide, guide, None, test, trained_groups=(), data_name="d", ks=(1,))
    assert unseen["probe"] is None
    assert unseen["swap"]["reader_accuracy"] is None
    assert unseen["swap"]["truth"] is not None
