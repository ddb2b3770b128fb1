"""Probes: style as draws, as loc and with its scale; standard errors that count observations."""

import pytest
import torch
from torch import nn

from pyro_mlvae import GroupedDataset, ProductOfNormals
from pyro_mlvae.data import regroup
from pyro_mlvae.evaluation import probe_metrics, vae_probe_metrics
from pyro_mlvae.evaluation.probe import style_codes
from pyro_mlvae.evaluation.standard_errors import of_groups, of_pairs
from pyro_mlvae.latents import encode


class Coded(nn.Module):
    """Content is the first value of x; style's loc is the second, and its log scale the third."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.content_dim = self.style_dim = 1

    def forward(self, x):
        return torch.cat([x[:, :1], torch.zeros(len(x), 1), x[:, 1:2], x[:, 2:3]], -1)


def coded(loc, log_scale):
    """Four groups of 100, with the loc and the log scale of style by group."""
    group = torch.arange(4).repeat_interleave(100)
    noise = 0.01 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    style = torch.stack([loc[group], log_scale[group]], 1) + noise
    x = torch.cat([torch.randn(400, 1, generator=torch.Generator().manual_seed(1)), style], 1)
    return GroupedDataset.from_arrays(x, group)


def accuracies(data):
    found = probe_metrics(ProductOfNormals(Coded()), *data.split(0.5, seed=0), ks=(1,))
    return {way: scores["accuracy"] for way, scores in found["style"].items()}


def test_noise_drowns_a_loc_in_the_draws_and_not_in_the_loc():
    small = accuracies(coded(0.1 * torch.arange(4.0), torch.zeros(4)))
    assert small["loc"] > 0.95
    assert small["draws"] < 0.35
    assert small["loc_and_scale"] > 0.95


def test_a_scale_is_read_with_the_scale_only():
    scale = accuracies(coded(torch.zeros(4), torch.arange(4.0) / 2))
    assert scale["loc"] < 0.4
    assert scale["loc_and_scale"] > 0.95


def test_draws_are_of_the_posterior_and_of_the_seed():
    data = coded(torch.zeros(4), torch.tensor([-2.0, -1.0, 0.0, 1.0]))
    codes = encode(ProductOfNormals(Coded()), data)
    before = torch.get_rng_state()
    first, again, other = (style_codes(codes, seed=seed)["draws"] for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Over 100 draws a scale is known to 7 %.
    spread = torch.stack([first[data.group == g].std() for g in range(4)])
    torch.testing.assert_close(
        spread.log(), torch.tensor([-2.0, -1.0, 0.0, 1.0]), atol=0.35, rtol=0.0
    )


def test_every_accuracy_has_its_standard_error_and_every_code_its_classifier():
    data = coded(torch.arange(4.0), torch.zeros(4))
    found = vae_probe_metrics(ProductOfNormals(Coded()), *data.split(0.5, seed=0), ks=(1, 5))
    chosen = dict(each.split(": ") for each in found["classifier"].split(", "))
    assert set(chosen) == {"content", "style draws", "style loc", "style loc and scale", "latent"}
    assert set(found["style"]) == {"draws", "loc", "loc_and_scale"}
    for scores in (*found["style"].values(), *found["content"].values(), *found["latent"].values()):
        assert set(scores) == {"accuracy", "standard_error", "cross_entropy"}
    style = found["style"]["draws"]
    binomial = (style["accuracy"] * (1.0 - style["accuracy"]) / 200) ** 0.5
    assert style["standard_error"] == pytest.approx(binomial, rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_standard_error_of_regroupings_is_that_of_new_observations(k):
    # 120 data sets of 60 observations: the mean over groups of whether their mean is above 0.2.
    estimates, errors = [], []
    for seed in range(120):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(60, generator=generator)
        rounds = [
            regroup(torch.zeros(60, dtype=torch.int64), k, generator, drop_smaller=True)
            for _ in range(20)
        ]
        count = 60 // k
        index = torch.cat([index for index, _ in rounds])
        group = torch.cat([group + i * count for i, (_, group) in enumerate(rounds)])
        mean = torch.zeros(20 * count).index_add(0, group, x[index]) / k
        value = (mean > 0.2).double()
        estimates.append(value.mean())
        errors.append(of_groups(value, index, group))
    true, said = float(torch.stack(estimates).std()), float(torch.tensor(errors).mean())
    # Of 120 a spread is known to 6 %; finitely many regroupings add a little, and never take.
    assert 0.9 * true < said < 1.25 * true
    if k > 1:
        assert said > 3.0 * (0.25 / (20 * count)) ** 0.5  # as if regroupings were new observations


def test_the_standard_error_of_pairs_counts_what_they_share():
    # A pair is right where the sum of an effect of each of 20 rows and 30 columns is positive.
    estimates, errors = [], []
    for seed in range(120):
        generator = torch.Generator().manual_seed(seed)
        row, column = torch.randn(20, generator=generator), torch.randn(30, generator=generator)
        one = torch.randint(20, (1000,), generator=generator)
        other = torch.randint(30, (1000,), generator=generator)
        value = (row[one] + column[other] > 0.0).double()
        estimates.append(value.mean())
        errors.append(of_pairs(value, one, other))
    true, said = float(torch.stack(estimates).std()), float(torch.tensor(errors).mean())
    assert 0.85 * true < said < 1.15 * true
    assert said > 3.0 * (0.25 / 1000) ** 0.5


def test_pairs_that_share_nothing_are_counted_each():
    value, each = torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.arange(4)
    assert of_pairs(value, each, each) == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
