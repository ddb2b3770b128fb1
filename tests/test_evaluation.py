"""Evaluation: what is reported is what it says it is, beside controls that mean something."""

import pytest
import torch
from normals import posterior_of
from torch import nn

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
)
from pyro_mlvae.evaluation import Probe, elbo_metrics, evidence_metrics, fixed_groups, probe_metrics
from pyro_mlvae.latents import encode, group_content
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel


class Identity(nn.Module):
    """An encoder whose content is the first value of x, and whose style is the second."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.content_dim = self.style_dim = 1

    def forward(self, x):
        zero = torch.zeros(len(x), 1)  # the log of a scale of 1
        return torch.cat([x[:, :1], zero, x[:, 1:], zero], -1)


@pytest.fixture
def data():
    """Four groups told apart by the first value of x, under heavy noise, and not by the second."""
    group = torch.arange(4).repeat_interleave(40)
    x = torch.stack([group + 0.6 * torch.randn(160), torch.randn(160)], 1)
    return GroupedDataset.from_arrays(x, group)


def test_the_elbo_of_the_exact_posterior_is_the_evidence():
    solved = LinearGaussian.correlated()
    batch = solved.sample(torch.tensor([7, 12, 1, 30]))
    data = GroupedDataset.from_arrays(batch.x, batch.group)
    metrics = elbo_metrics(
        LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), data, num_particles=100
    )
    groups = fixed_groups(data)
    exact = float(solved.log_evidence(groups).sum()) / len(groups)
    # Divergences are exact, the reconstruction a mean of 100 draws: standard error under 0.1.
    assert metrics["per_observation"] == pytest.approx(exact, abs=0.2)
    assert metrics["observations_per_group"] == 10
    assert metrics["groups"] == groups.num_groups == 7


def test_the_fixed_groups_are_the_same_every_time_and_stay_inside_groups(data):
    first, second = fixed_groups(data, 7), fixed_groups(data, 7)
    assert torch.equal(first.group, second.group)
    assert int(first.sizes.max()) == 7
    for group in range(first.num_groups):
        assert len(data.group[first.group == group].unique()) == 1


def test_a_probe_reads_what_is_there_and_not_what_is_not(data):
    train, test = data.split(0.5)
    metrics = probe_metrics(ProductOfNormals(Identity()), train, test, ks=(1, 5, 50))
    assert 0.5 < metrics["content"]["1"]["accuracy"] < 0.9
    assert metrics["content"]["5"]["accuracy"] > metrics["content"]["1"]["accuracy"] + 0.1
    assert metrics["content"]["5"]["cross_entropy"] < metrics["content"]["1"]["cross_entropy"]
    assert metrics["content"]["50"] is None
    assert metrics["style"]["loc"]["accuracy"] < 0.4


def test_evidence_narrows_as_one_over_root_k(data):
    evidence = evidence_metrics(ProductOfNormals(Identity()), data, ks=(1, 4, 100))
    scales = [1.0, pytest.approx(0.5), None]
    assert evidence == {"k": [1, 4, 100], "content_scale": scales, "untrained": None, "vae": None}


def test_evidence_of_the_controls_stands_beside(data):
    guide, other = ProductOfNormals(Identity()), ProductOfNormals(MLPEncoder((2,), 2, 1))
    evidence = evidence_metrics(guide, data, untrained=other, vae=guide, ks=(1, 4))
    assert evidence["vae"] == evidence["content_scale"]
    assert evidence["untrained"] == evidence_metrics(other, data, ks=(1, 4))["content_scale"]


def test_encoding_in_chunks_changes_nothing():
    guide = ProductOfNormals(MLPEncoder((3,), 2, 1), prior_expert=True)
    x = torch.randn(23, 3)
    whole, chunked = encode(guide, x), encode(guide, x, batch_size=5)
    torch.testing.assert_close(whole.content.mean, chunked.content.mean)
    torch.testing.assert_close(whole.style.stddev, chunked.style.stddev)
    torch.testing.assert_close(whole.features, chunked.features)


def test_group_content_is_the_guides_own_posterior():
    guide = ProductOfNormals(MLPEncoder((3,), 2, 1), prior_expert=True)
    data = GroupedDataset.from_arrays(torch.randn(9, 3), [0, 0, 1, 1, 1, 2, 2, 2, 2])
    posterior = group_content(guide, encode(guide, data.x), torch.arange(9), data.group)
    expected = posterior_of(guide, data.batch())
    torch.testing.assert_close(posterior.mean, expected.loc)
    torch.testing.assert_close(posterior.stddev, expected.scale)


def test_the_callers_random_state_is_left_alone(data):
    guide = ProductOfNormals(MLPEncoder((2,), 2, 1))
    model = MLVAE(MLPDecoder((2,), 2, 1), NormalLikelihood(), 2, 1)
    before = torch.get_rng_state()
    elbo_metrics(model, guide, data)
    evidence_metrics(guide, data)
    assert torch.equal(before, torch.get_rng_state())


def test_a_probe_says_which_labels_it_was_never_shown():
    codes, labels = torch.randn(60, 2), torch.arange(60) % 3
    probe = Probe.train(codes, labels)
    strange = torch.cat([labels, torch.tensor([7, 5])])
    with pytest.raises(
        InputError, match=r"among the 3 .* got 2 observation.* has label 7\).*leave these"
    ):
        probe.scores(torch.randn(62, 2), strange)
    assert set(probe.scores(codes, labels)) == {"accuracy", "standard_error", "cross_entropy"}


def test_a_probe_of_one_label_is_refused():
    with pytest.raises(
        InputError, match=r"at least two distinct ones, got 1 in 9 .* several labels"
    ):
        Probe.train(torch.randn(9, 2), torch.full((9,), 4))
