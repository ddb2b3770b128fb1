"""Guides of a user's own: what is drawn in training is what is read at test time."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from normals import as_normal
from pyro import poutine
from pyro.distributions.transforms import AffineCoupling
from pyro.nn import DenseNN
from torch import nn

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    GroupedDataset,
    GroupedGuide,
    GroupSampler,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    check,
)
from pyro_mlvae.checking import PairError
from pyro_mlvae.comparison.problem import Problem, make_problem
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.latents import embed, encode, gather_evidence, group_content
from pyro_mlvae.ops import mean_of, normal_from_parameters, sum_by_group

GROUP = torch.tensor([0, 0, 0, 1, 2, 2])


class DeepSets(GroupedGuide):
    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        self.rho = nn.Linear(16, 2 * self.content_dim)

    @classmethod
    def content_width(cls, content_dim):
        return 16

    def content_posterior(self, features, groups):
        total = sum_by_group(self.split(features)[0], groups.group, groups.num_groups)
        return normal_from_parameters(self.rho(total)).to_event(1)


class Attention(GroupedGuide):
    @classmethod
    def content_width(cls, content_dim):
        return 2 * content_dim + 1

    def content_posterior(self, features, groups):
        content = self.split(features)[0]
        score = content[:, -1:].tanh().exp()
        total = sum_by_group(score, groups.group, groups.num_groups)
        weight = score / total.index_select(0, groups.group)
        pooled = sum_by_group(weight * content[:, :-1], groups.group, groups.num_groups)
        return normal_from_parameters(pooled).to_event(1)


class FullCovariance(GroupedGuide):
    @classmethod
    def content_width(cls, content_dim):
        return content_dim + content_dim**2

    def content_posterior(self, features, groups):
        d = self.content_dim
        loc, root = self.split(features)[0].split([d, d * d], -1)
        loc = sum_by_group(loc, groups.group, groups.num_groups)
        root = sum_by_group(root, groups.group, groups.num_groups).reshape(-1, d, d).tril(-1)
        return dist.MultivariateNormal(loc, scale_tril=root + torch.eye(d))


class Flow(ProductOfNormals):
    def __init__(self, encoder, **options):
        super().__init__(encoder, **options)
        half = self.content_dim // 2
        self.bend = AffineCoupling(half, DenseNN(half, [16], [self.content_dim - half] * 2))

    def content_posterior(self, features, groups):
        return dist.TransformedDistribution(
            super().content_posterior(features, groups), [self.bend]
        )


class MixtureOfExperts(GroupedGuide):
    def content_posterior(self, features, groups):
        expert = normal_from_parameters(self.split(features)[0])
        own = groups.group == torch.arange(groups.num_groups).unsqueeze(-1)
        which = dist.Categorical(logits=torch.where(own, 0.0, -torch.inf))
        shape = (groups.num_groups, *expert.loc.shape)
        return dist.MixtureSameFamily(
            which, dist.Normal(expert.loc, expert.scale).expand(shape).to_event(1)
        )


GUIDES = [
    DeepSets,
    Attention,
    FullCovariance,
    Flow,
    MixtureOfExperts,
    ProductOfNormals,
    ThreeLevelGuide,
]


def make(kind):
    torch.manual_seed(0)
    return kind(MLPEncoder((5,), 4, 2, hidden=(8,), width=kind.width(4, 2)))


@pytest.mark.parametrize("kind", GUIDES)
def test_what_is_drawn_in_training_has_the_mean_that_is_read_at_test_time(kind):
    guide, runs = make(kind), 150
    parents = (torch.tensor([0, 1, 1]), 2) if kind is ThreeLevelGuide else ()
    batch = GroupedBatch(torch.rand(6, 5), GROUP, 3, *parents)
    with torch.no_grad():
        posterior = guide.content_posterior(guide.encode(batch.x), batch.groups)
        draws = torch.stack(
            [poutine.trace(guide).get_trace(batch).nodes["content"]["value"] for _ in range(runs)]
        )
        # A flow's own mean is that of 1,000 draws.
        error = draws.std(0) * (1 / runs + 1 / 1000) ** 0.5
        assert ((draws.mean(0) - mean_of(posterior)).abs() < 5 * error).all()


@pytest.mark.parametrize("kind", GUIDES[:5])
def test_every_path_of_test_time_goes_through_its_posterior(kind):
    guide = make(kind)
    data = GroupedDataset.from_arrays(torch.rand(6, 5), GROUP)
    posterior = as_normal(guide.content_posterior(guide.encode(data.x), data.groups()))
    of_groups = group_content(guide, encode(guide, data))
    torch.testing.assert_close(mean_of(of_groups), posterior.loc)
    torch.testing.assert_close(
        torch.from_numpy(embed(guide, data)["group_content_loc"]), posterior.loc
    )
    with pytest.raises(
        InputError, match="evidence adds only where the posterior of content is a product"
    ):
        gather_evidence(guide, data)


class Wrong(GroupedGuide):
    """Of which one thing is wrong."""

    def encode(self, x):
        return super().encode(x)[:-1] if self.fault == "rows" else super().encode(x)

    def content_posterior(self, features, groups):
        content = normal_from_parameters(self.split(features)[0])
        if self.fault == "event":
            return content
        return content.to_event(1)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("rows", r"features must be \[N, width\] with one row for each of the 6 observations, got"),
        ("event", r"event shape \[4\], got batch shape \[6, 4\] and event shape \[\]"),
        ("batch", r"one distribution a group, of batch shape \[3\].* got batch shape \[6\]"),
    ],
)
def test_features_and_posteriors_of_the_wrong_shape_are_refused(fault, sentence):
    guide = make(Wrong)
    guide.fault = fault
    with pytest.raises(InputError, match=sentence):
        guide(GroupedBatch(torch.rand(6, 5), GROUP, 3))


class Elsewhere(ProductOfNormals):
    """Training draws from another distribution than test time reads."""

    def draw_content(self, features, groups):
        with pyro.plate("groups", groups.num_groups, dim=-1):
            wide = self.content_posterior(features, groups)
            return pyro.sample("content", dist.Normal(wide.mean, 2.0 * wide.stddev).to_event(1))


class OtherPrior(MLVAE):
    def draw_content(self, batch):
        with pyro.plate("groups", batch.num_groups, dim=-1):
            return pyro.sample("content", dist.Normal(self._zero, 2.0).expand([4]).to_event(1))


@pytest.mark.parametrize(
    ("model", "guide", "method"),
    [(MLVAE, Elsewhere, "content_posterior"), (OtherPrior, ProductOfNormals, "content_prior")],
)
def test_check_finds_a_pair_whose_test_time_is_another(model, guide, method):
    torch.manual_seed(0)
    pair = model(MLPDecoder((5,), 4, 2, hidden=(8,)), NormalLikelihood(), 4, 2), make(guide)
    batch = GroupedBatch(torch.rand(6, 5), GROUP, 3)
    with pytest.raises(PairError, match=f"in training than {method} gives.*override {method}"):
        check(*pair, batch)


def test_a_guide_whose_draws_are_not_reparameterised_is_not_compared():
    data = GroupedDataset.from_arrays(torch.rand(6, 5), GROUP)
    model = MLVAE(MLPDecoder((5,), 4, 2, hidden=(8,)), NormalLikelihood(), 4, 2)
    with pytest.raises(
        InputError, match=r"the comparison needs reparameterised draws, but .* 'content'"
    ):
        make_problem("own", model, make(MixtureOfExperts), data, data)


def test_a_copy_for_comparison_is_made_of_a_flow_that_has_been_used():
    guide, batch = make(Flow), GroupedBatch(torch.rand(6, 5), GROUP, 3)
    posterior = guide.content_posterior(guide.encode(batch.x), batch.groups)
    posterior.log_prob(posterior.rsample())  # which the transform remembers, with its graph
    sampler = GroupSampler(GroupedDataset.from_arrays(batch.x, GROUP), 3)
    _, copied = Problem("own", nn.Identity(), guide, batch, sampler, held_out=batch).pair()
    for one, other in zip(guide.parameters(), copied.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one is not other
