"""What style was made from, predicted from codes that tell it, and from others."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from pyro_mlvae import MLVAE, GroupedDataset, NormalLikelihood, ProductOfNormals
from pyro_mlvae.cli.summary import summary
from pyro_mlvae.data import load_glyphs
from pyro_mlvae.evaluation import drawn_anew, evaluate, factor_metrics


class Split(nn.Module):
    """Content is the first value of x, style the others, all but free of noise."""

    content_dim, style_dim = 1, 2

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        small = torch.full((len(x), 1), -9.0)
        return torch.cat([x[:, :1], small, x[:, 1:3], small, small], -1)


class Join(Split):
    def forward(self, content, style):
        return (torch.cat([content, style], -1),)


@dataclass(frozen=True, eq=False)
class Known(GroupedDataset):
    """A number of the group, and two of the observation, of which its factors are made."""

    @property
    def style_factors(self):
        return self.of_observations

    def render(self, content_of, style_of):
        known = self.of_observations
        style = torch.stack([known["bent"][style_of], known["pair"][style_of, 0]], 1)
        return torch.cat([self.group[content_of, None].float(), style], 1)


def make(count=600, *, groups=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(count) % groups
    style = torch.randn(count, 2, generator=generator)
    factors = {
        "bent": style[:, 0],
        "squared": style[:, 0].square(),
        "pair": torch.stack([style[:, 1], torch.randn(count, generator=generator)], 1),
        "noise": torch.randn(count, generator=generator),
        "sign": (style[:, 1] > 0).long(),
        "constant": torch.ones(count),
    }
    x = torch.cat([group[:, None].float(), style], 1)
    return Known.from_arrays(x, group, of_observations=factors)


@pytest.fixture(scope="module")
def found():
    tests = {"seen": make(300, seed=1), "unseen": None}
    return factor_metrics(ProductOfNormals(Split()), make(300), tests, whole=True)


def test_style_predicts_what_it_is_made_of_and_content_does_not(found):
    style, content = found["seen"]["style"]["draws"], found["seen"]["content"]["loc"]
    assert style["bent"] > 0.99
    # Half of the pair's variance is in a column that style does not know.
    assert style["pair"] == pytest.approx(0.5, abs=0.1)
    assert style["noise"] == pytest.approx(0.0, abs=0.1)
    assert style["sign"] > 0.6
    assert style["constant"] is None
    assert all(abs(content[name]) < 0.1 for name in content if name != "constant")
    numbers = [style[name] for name in ("bent", "squared", "pair", "noise")]
    assert style["mean"] == pytest.approx(sum(numbers) / 4)
    # A draw of content, all noise to its own scale of 0.01, says as much.
    drawn = found["seen"]["content"]["draws"]
    assert all(abs(drawn[name] - content[name]) < 0.05 for name in ("bent", "pair", "noise"))
    assert found["seen"]["latent"]["bent"] > 0.95
    assert found["unseen"] is None


def test_cross_validation_chooses_kernels_where_a_factor_is_no_line(found):
    # No line predicts a square.
    assert found["seen"]["style"]["draws"]["squared"] > 0.8
    assert "style draws: kernel-ridge" in found["regressor"]
    linear = make(200)
    bent = {name: linear.of_observations[name] for name in ("bent",)}
    chosen = factor_metrics(ProductOfNormals(Split()), replace(linear, of_observations=bent), {})
    assert "style loc: ridge" in chosen["regressor"]


def test_data_that_knows_nothing_of_its_style_or_other_factors_is_not_measured():
    train, guide = make(60), ProductOfNormals(Split())
    plain = GroupedDataset.from_arrays(train.x, train.group, of_observations=train.of_observations)
    assert factor_metrics(guide, plain, {"seen": train}) is None
    assert factor_metrics(guide, train.subset(torch.arange(2)), {"seen": train}) is None
    others = replace(train, of_observations={"bent": train.of_observations["bent"]})
    found = factor_metrics(guide, train, {"plain": plain, "others": others})
    assert found["plain"] is found["others"] is None


def test_what_is_drawn_anew_has_the_group_of_one_and_the_style_of_another():
    data = load_glyphs(scripts=["Digits"], per_character=6)
    new = drawn_anew(data, 40, seed=3)
    assert len(new) == 40
    index = torch.arange(40)
    assert torch.equal(new.render(index, index), new.observations())
    old = data.observations().flatten(1)
    assert torch.cdist(new.observations().flatten(1), old).min() > 0.0
    assert len(drawn_anew(data)) == 60
    assert drawn_anew(data.subset(torch.arange(6))) is None
    assert drawn_anew(GroupedDataset.from_arrays(data.x, data.group)) is None


def test_metrics_tell_seen_groups_from_unseen_ones_and_the_summary_says_so(quick_evaluation):
    data = make(96, groups=6)
    train, test = data.split_groups(["4", "5"])
    model, guide = MLVAE(Join(), NormalLikelihood(0.1), 1, 2), ProductOfNormals(Split())
    options = {"vae": (model, guide), "data_name": "d", "ks": (1,)}
    metrics = evaluate(model, guide, guide, train, test, **options)
    factors, truth = metrics["factors"], metrics["swap"]["truth"]
    for part in ("seen", "unseen"):
        assert factors[part]["style"]["draws"]["bent"] > 0.95
        assert factors["untrained"][part] == factors[part]
    assert factors["vae"]["seen"]["latent"]["bent"] > 0.9
    assert truth["error"]["1"] < 0.01
    assert truth["nearest_training"] > truth["seen"]["nearest_training"] > 0.0
    assert truth["seen"]["copy_style_donor"] != truth["copy_style_donor"]
    text = summary(metrics)
    assert "R2 of style's factors, seen groups" in text
    assert "R2 of style's factors, unseen groups" in text
    assert "The same, of groups it trained on" in text
