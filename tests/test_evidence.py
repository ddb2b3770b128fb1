"""Evidence adds: in whatever order and pieces it comes, it is the product of Normals."""

import pytest
import torch
from torch.distributions import Normal

from pyro_mlvae import InputError
from pyro_mlvae.ops import Evidence
from pyro_mlvae.ops.normals import product_of_normals


def normals(n, dim=3, dtype=torch.float64):
    loc = torch.randn(n, dim, dtype=dtype)
    return Normal(loc, 0.2 + 3.0 * torch.rand_like(loc))


def part(of: Normal, index) -> Normal:
    return Normal(of.loc[index], of.scale[index])


def assert_same(one: Evidence, other: Evidence, tolerance: float = 1e-12):
    torch.testing.assert_close(one.precision, other.precision, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        one.precision_loc, other.precision_loc, rtol=tolerance, atol=tolerance
    )
    assert torch.equal(one.count, other.count)


@pytest.fixture
def three():
    """Three pieces of evidence about the same four groups, not every group in each of them."""
    return [
        Evidence.from_normals(normals(len(g)), torch.tensor(g), 4)
        for g in ([0, 3, 3], [1, 1, 2, 0, 1], [2])
    ]


def test_addition_is_associative(three):
    a, b, c = three
    assert_same((a + b) + c, a + (b + c))


def test_addition_is_commutative(three):
    a, b, _ = three
    assert_same(a + b, b + a, tolerance=0.0)


def test_no_evidence_is_neutral(three):
    none = Evidence.none(num_groups=4, content_dim=3)
    assert_same(three[0] + none, three[0], tolerance=0.0)
    assert_same(none + three[0], three[0], tolerance=0.0)


def test_addition_leaves_its_terms_alone(three):
    a, b, _ = three
    before = a.precision.clone(), a.precision_loc.clone(), a.count.clone()
    _ = a + b
    for now, then in zip((a.precision, a.precision_loc, a.count), before, strict=True):
        assert torch.equal(now, then)


def test_evidence_one_at_a_time_is_the_evidence_of_all_at_once():
    given, group = normals(60), torch.randint(0, 5, (60,))
    total = Evidence.none(5, 3)
    for i in range(60):
        total = total + Evidence.from_normals(part(given, [i]), group[i : i + 1], 5)
    assert_same(total, Evidence.from_normals(given, group, 5))


def test_the_posterior_is_the_product_of_normals():
    given, group = normals(60), torch.arange(60) % 7
    posterior = Evidence.from_normals(given, group, 7).posterior()
    loc, scale = product_of_normals(given.loc, given.scale, group, 7)
    torch.testing.assert_close(posterior.loc, loc, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(posterior.scale, scale, rtol=1e-12, atol=1e-12)


def test_a_prior_is_one_more_normal_in_every_groups_product():
    # Of five groups the last has no evidence: its posterior is the prior.
    given, group, prior = normals(20), torch.arange(20) % 4, part(normals(1), 0)
    posterior = Evidence.from_normals(given, group, 5).posterior(prior)
    loc, scale = product_of_normals(
        given.loc, given.scale, group, 5, prior=(prior.loc, prior.scale)
    )
    torch.testing.assert_close(posterior.loc, loc, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(posterior.scale, scale, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(posterior.scale[4], prior.scale)


def test_a_prior_may_be_of_lower_precision_than_evidence():
    prior = Normal(torch.zeros(3), torch.ones(3))
    posterior = Evidence.none(2, 3).posterior(prior)
    assert posterior.loc.dtype == posterior.scale.dtype == torch.float64
    assert posterior.scale.tolist() == [[1.0] * 3] * 2


def test_a_million_observations_in_chunks_are_a_million_in_one_pass():
    # In float32, as an encoder gives them: summed in float32 the two differ by 2e-6.
    given = normals(1_000_000, dim=1, dtype=torch.float32)
    group = torch.randint(0, 3, (1_000_000,))
    at_once = Evidence.from_normals(given, group, 3)
    in_chunks = Evidence.none(3, 1)
    for chunk in torch.arange(1_000_000).split(6_000):
        in_chunks = in_chunks + Evidence.from_normals(part(given, chunk), group[chunk], 3)
    assert int(in_chunks.count.sum()) == 1_000_000
    assert_same(in_chunks, at_once, tolerance=1e-10)
    one, other = in_chunks.posterior(), at_once.posterior()
    torch.testing.assert_close(one.loc, other.loc, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(one.scale, other.scale, rtol=1e-6, atol=0.0)


def test_extreme_float32_scales_stay_finite():
    scale = torch.tensor([[1e-38], [1e38]])
    posterior = Evidence.from_normals(
        Normal(torch.ones_like(scale), scale), torch.tensor([0, 1]), 2
    ).posterior()
    torch.testing.assert_close(posterior.scale, scale.double(), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(posterior.loc, torch.ones(2, 1, dtype=torch.float64))


def test_observations_are_of_one_group_unless_said_otherwise():
    given = normals(5)
    alone = Evidence.from_normals(given)
    assert alone.count.tolist() == [5]
    assert_same(alone, Evidence.from_normals(given, torch.zeros(5, dtype=torch.int64), 1))


def test_evidence_is_in_float64_and_holds_no_graph():
    loc = torch.zeros(2, 3, requires_grad=True)
    evidence = Evidence.from_normals(Normal(loc, loc.exp()))
    assert evidence.precision.dtype == evidence.precision_loc.dtype == torch.float64
    assert not evidence.precision.requires_grad
    assert not evidence.precision_loc.requires_grad


def test_a_posterior_without_evidence_is_refused_by_the_first_such_group():
    evidence = Evidence.from_normals(normals(2), torch.tensor([0, 2]), 4)
    with pytest.raises(
        InputError, match=r"2 group\(s\).*without any evidence.*group 1.*pass prior="
    ):
        evidence.posterior()


@pytest.mark.parametrize("shape", [(2, 4), (3, 3)], ids=["other dim", "other groups"])
def test_evidence_of_different_shapes_does_not_add(shape):
    sentence = (
        rf"same \[groups, content\] on both sides, got \[2, 3\] and \[{shape[0]}, {shape[1]}\]"
    )
    with pytest.raises(InputError, match=sentence):
        Evidence.none(2, 3) + Evidence.none(*shape)
