"""Active units and divergences of hand-built codes, and warnings of those that tell nothing."""

import pytest
import torch
from pyro.distributions import Normal
from torch import nn

from pyro_mlvae import InputError, MLPEncoder, ProductOfNormals
from pyro_mlvae.evaluation import TrainingProgress, activity_metrics, collapse_warnings
from pyro_mlvae.latents import encode
from pyro_mlvae.ops import unbounded


def test_units_are_active_where_loc_varies_and_scale_does_not_count():
    # Variances 0.0225, 0.0064 and 0, the last with scales that vary.
    sign = torch.tensor([-1.0, 1.0]).repeat(50)
    loc = torch.stack([0.15 * sign, 0.08 * sign, torch.full((100,), 3.0)], 1)
    scale = torch.stack([torch.ones(100), torch.ones(100), 1.0 + 0.9 * sign], 1)
    normal = Normal(loc, scale)
    activity = activity_metrics(normal, Normal(loc[:, 1:], scale[:, 1:]), normal)
    assert (activity["content"], activity["content_dim"]) == (1, 3)
    assert (activity["style"], activity["style_dim"]) == (0, 2)
    assert activity["threshold"] == 0.01
    assert activity["variance_content"] == pytest.approx(
        [0.0225 * 100 / 99, 0.0064 * 100 / 99, 0.0]
    )
    assert (
        activity["scale_content"]
        == activity["scale_content_of_groups"]
        == pytest.approx([1.0, 1.0, 1.0])
    )
    assert activity["scale_style"] == pytest.approx([1.0, 1.0])
    lower = activity_metrics(normal, normal, normal, threshold=0.005)
    assert lower["content"] == lower["style"] == 2


def test_divergences_are_the_closed_form_of_each_dimension():
    style = Normal(torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.5, 1.0], [2.0, 1.0]]))
    content = Normal(torch.tensor([[2.0], [0.0], [0.0]]), torch.tensor([[1.0], [1.0], [1.0]]))
    activity = activity_metrics(style, style, content)
    log_two = torch.log(torch.tensor(2.0)).item()
    # (1 + 1/4 - 1) / 2 + log 2 and (9 + 4 - 1) / 2 - log 2.
    assert activity["kl_style"] == pytest.approx([((0.125 + log_two) + (6.0 - log_two)) / 2, 0.0])
    assert activity["kl_content"] == pytest.approx([2.0 / 3.0])


def test_scales_of_one_observation_and_of_a_group_are_kept_apart():
    loc = torch.randn(4, 2)
    content, style, of_groups = (Normal(loc, scale + 0 * loc) for scale in (0.5, 0.2, 0.1))
    activity = activity_metrics(content, style, of_groups)
    names = ("scale_content", "scale_style", "scale_content_of_groups")
    assert [activity[name] for name in names] == [pytest.approx([s, s]) for s in (0.5, 0.2, 0.1)]


def test_one_observation_is_refused():
    normal = Normal(torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(InputError, match="at least two observations, got 1"):
        activity_metrics(normal, normal, normal)


class Heads(nn.Module):
    """An MLP encoder, of which one of the two codes can be made constant."""

    def __init__(self, constant=None):
        super().__init__()
        self.encoder, self.constant = MLPEncoder((6,), content_dim=3, style_dim=2), constant
        self.content_dim, self.style_dim = 3, 2

    def forward(self, x):
        # Locs of the size of the data, as a trained encoder has them.
        content, _, style, _ = self.encoder(x).split([3, 3, 2, 2], -1)
        codes = []
        for number, loc in enumerate((10.0 * content, 10.0 * style)):
            constant = number == self.constant
            scale = torch.ones_like(loc) if constant else torch.full_like(loc, 0.1)
            codes += [0.001 * loc if constant else loc, unbounded(scale.log())]
        return torch.cat(codes, -1)


def activity_of(encoder):
    guide = ProductOfNormals(encoder)
    codes = encode(guide, torch.randn(200, 6))
    return activity_metrics(codes.content_normal, codes.style_normal, codes.content_normal)


def test_a_healthy_guide_is_not_warned_of():
    activity = activity_of(Heads())
    assert (activity["content"], activity["style"]) == (3, 2)
    assert collapse_warnings(activity) == []


@pytest.mark.parametrize(
    ("constant", "site", "other"), [(0, "content", "style"), (1, "style", "content")]
)
def test_a_head_that_says_nothing_is_warned_of_in_one_sentence(constant, site, other):
    activity = activity_of(Heads(constant))
    assert activity[site] == 0
    (sentence,) = collapse_warnings(activity)
    assert sentence.startswith(
        f"{site} has collapsed onto the prior: the loc of none of its {activity[f'{site}_dim']} "
        f"dimensions varies between observations, and its divergence from the prior is "
        f"{sum(activity[f'kl_{site}']):.2g} nats per"
    )
    assert f"try a smaller {other}_dim" in sentence


def test_constant_codes_far_from_the_prior_do_not_vary_and_have_not_collapsed_onto_it():
    """As a product of many experts without the prior is: narrow, whatever the observations."""
    loc = torch.randn(50, 2)
    constant = Normal(torch.ones(50, 2), torch.full((50, 2), 0.1))
    (sentence,) = collapse_warnings(
        activity_metrics(constant, Normal(loc, 0.1 + 0 * loc), constant)
    )
    assert sentence.startswith("content does not vary: the loc of none of its 2 dimensions varies")
    assert "though its divergence from the prior is 4.6 nats per group" in sentence
    assert "collapsed" not in sentence


def test_a_unit_that_is_barely_active_tells_next_to_nothing_and_has_not_collapsed():
    loc = 0.15 * torch.randn(500, 2)
    faint = Normal(loc, torch.ones_like(loc))
    healthy = Normal(10 * loc, 0.5 + 0 * loc)
    activity = activity_metrics(faint, healthy, faint)
    assert activity["content"] == 2
    (sentence,) = collapse_warnings(activity)
    assert sentence.startswith(
        "content tells next to nothing: its divergence from the prior is 0.0"
    )
    assert "though 2 of its 2 dimensions vary between observations" in sentence
    assert "collapsed" not in sentence


RISING, AT_REST = [-67.6, -22.3, -10.9], [-67.6, *[10.0, 10.05] * 20]


@pytest.mark.parametrize("constant", [0, 1])
def test_while_the_elbo_still_rises_nothing_is_called_collapsed(constant):
    activity = activity_of(Heads(constant))
    (sentence,) = collapse_warnings(activity, TrainingProgress(RISING, steps=27))
    assert "tells nothing yet" in sentence
    assert sentence.endswith(
        "the run is undertrained: 3 epochs (27 steps), and the ELBO was still rising by 11 nats "
        "per observation an epoch: train longer"
    )
    assert "collapsed" not in sentence
    (sentence,) = collapse_warnings(activity, TrainingProgress(AT_REST, steps=369))
    assert "has collapsed" in sentence
    assert "undertrained" not in sentence


def test_a_healthy_code_is_not_warned_of_however_short_the_training():
    assert collapse_warnings(activity_of(Heads()), TrainingProgress(RISING, steps=27)) == []


def test_the_rise_is_that_of_the_last_tenth_an_epoch():
    # 40 epochs that rise by 0.3 an epoch to the end, and 40 that do so half the way.
    steady = [0.3 * epoch for epoch in range(40)]
    assert "by 0.3 nats per observation an epoch" in TrainingProgress(steady, 400).undertrained()
    assert TrainingProgress([min(e, 6.0) for e in steady], 400).undertrained() is None
    assert TrainingProgress(steady[::-1], 400).undertrained() is None
    assert TrainingProgress([-5.0], 9).undertrained().startswith("undertrained: 1 epoch (9 steps)")


def test_activity_is_plain_numbers(tmp_path):
    import json

    activity = activity_of(Heads())
    assert json.loads(json.dumps(activity)) == activity
