"""Self-consistency of content: of the solved model, by counted draws, and where it must fail."""

import pytest
import torch
from torch.distributions import Normal

from pyro_mlvae import InputError
from pyro_mlvae.evaluation import self_consistency_metrics
from pyro_mlvae.latents import encode, experts
from pyro_mlvae.ops.evidence import Evidence
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide

LOADINGS = {"orthogonal": LinearGaussian.orthogonal, "correlated": LinearGaussian.correlated}
both_models = pytest.mark.parametrize("make", LOADINGS.values(), ids=LOADINGS)
both_products = pytest.mark.parametrize("product", ["with_prior", "without_prior"])
KS, LEVELS, SIZE = (1, 2, 5), (0.5, 0.8, 0.9, 0.95), 12


def exact_experts(make, groups=1600):
    """What the exact guide says of each observation of many groups drawn from the model itself."""
    solved = make(noise_scale=1.5)
    batch = solved.sample(torch.full((groups,), SIZE), seed=1)
    guide = LinearGaussianGuide.exact(solved)
    return experts(guide, encode(guide, batch.x)), batch.group


def z_scores(product, expert, group, parts=20):
    """By how many standard errors coverage is off what is promised, for each k and level.

    The error is that of a mean over parts of the data, 80 groups each, that share no group.
    """
    rounds = []
    for loc, scale, own in zip(
        *(t.chunk(parts) for t in (expert.loc, expert.scale, group)), strict=True
    ):
        rounds.append(
            self_consistency_metrics(Normal(loc, scale), own, ks=KS, levels=LEVELS)[product]
        )
    coverage = torch.tensor(rounds, dtype=torch.float64)
    return (coverage.mean(0) - torch.tensor(LEVELS)) / (coverage.std(0) / parts**0.5)


@both_models
@both_products
def test_exact_experts_cover_as_promised_whatever_k(make, product):
    """With the prior by Bayes' rule; without it, as the product's loc errs by its scale."""
    assert z_scores(product, *exact_experts(make)).abs().max() < 4.0


@both_models
def test_the_prior_is_right_only_for_contents_that_are_drawn_from_it(make):
    expert, group = exact_experts(make)
    # Contents three times as far apart, seen through the same noise.
    content = 2.0 * torch.randn(1600, 3, dtype=torch.float64)
    wide = Normal(expert.loc + content[group], expert.scale)
    assert z_scores("without_prior", wide, group).abs().max() < 4.0
    assert z_scores("with_prior", wide, group)[0].max() < -20.0


@both_products
def test_experts_too_sure_of_themselves_cover_less_than_promised_and_too_unsure_more(product):
    expert, group = exact_experts(LinearGaussian.orthogonal)
    assert z_scores(product, Normal(expert.loc, 0.7 * expert.scale), group).max() < -10.0
    assert z_scores(product, Normal(expert.loc, 1.4 * expert.scale), group).min() > 10.0


@both_products
def test_the_closed_form_is_how_many_draws_fall_inside(product):
    """Of pieces of one observation, so that no cut is random."""
    groups, draws = 30, 20_000
    loc, scale = torch.randn(4 * groups, 2).double(), (0.3 + torch.rand(4 * groups, 2)).double()
    group = torch.arange(groups).repeat_interleave(4)
    prior = Normal(torch.zeros(2), torch.ones(2)) if product == "with_prior" else None
    whole = Evidence.from_normals(Normal(loc, scale), group, groups).posterior(prior)
    alone = Evidence.from_normals(
        Normal(loc, scale), torch.arange(4 * groups), 4 * groups
    ).posterior(prior)
    drawn = whole.sample((draws,))[:, group]
    z = Normal(0.0, 1.0).icdf(torch.tensor((1.0 + 0.8) / 2.0))
    counted = ((drawn - alone.loc).abs() < z * alone.scale).double().mean((1, 2))
    metrics = self_consistency_metrics(Normal(loc, scale), group, ks=[1], levels=[0.8])
    standard_error = counted.std() / draws**0.5
    assert standard_error < 0.001
    assert metrics[product][0][0] == pytest.approx(
        float(counted.mean()), abs=4 * float(standard_error)
    )


def test_pieces_stay_inside_their_groups_and_numbers_of_groups_do_not_matter():
    """Groups agree in themselves and are far apart: any mixing would cover nothing."""
    group = torch.tensor([900, 7, -3, 7, -3, 7, -3, 7, -3])
    loc = group[:, None].double()
    metrics = self_consistency_metrics(
        Normal(loc, torch.ones_like(loc)), group, ks=[2], levels=[0.8]
    )
    # Same loc, and half the evidence: an interval of sqrt(2) times the scale.
    z = 2**0.5 * Normal(0.0, 1.0).icdf(torch.tensor(0.9, dtype=torch.float64))
    expected = 2.0 * float(Normal(0.0, 1.0).cdf(z)) - 1.0
    assert metrics["without_prior"][0][0] == pytest.approx(expected, abs=1e-6)


def test_only_groups_with_as_much_evidence_again_take_part():
    group = torch.tensor([0] * 3 + [1] * 4 + [2] * 10)
    loc = torch.randn(17, 2)
    metrics = self_consistency_metrics(
        Normal(loc, torch.ones_like(loc)), group, ks=(2, 5, 6), levels=(0.9,)
    )
    assert [None if row is None else len(row) for row in metrics["with_prior"]] == [1, 1, None]
    assert [None if row is None else len(row) for row in metrics["without_prior"]] == [1, 1, None]
    assert metrics["k"] == [2, 5, 6]
    assert metrics["levels"] == [0.9]
    assert metrics["observations_of_whole_group"] == 7.0
    assert self_consistency_metrics(Normal(loc, torch.ones_like(loc)), group, ks=(6, 50)) is None


def test_the_callers_random_state_is_left_alone_and_seeds_give_the_same_cuts():
    loc, group = torch.randn(40, 2), torch.arange(4).repeat(10)
    expert = Normal(loc, torch.ones_like(loc))
    before = torch.get_rng_state()
    first = self_consistency_metrics(expert, group, ks=[3], seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert first == self_consistency_metrics(expert, group, ks=[3], seed=1)
    assert first != self_consistency_metrics(expert, group, ks=[3], seed=2)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"levels": (0.9, 1.0)}, r"levels must lie between 0 and 1, got \[0.9, 1.0\]"),
        ({"ks": (0,)}, "k must be a positive whole number, got 0"),
        ({"ks": ()}, "ks must hold at least one"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, sentence):
    expert = Normal(torch.zeros(4, 1), torch.ones(4, 1))
    with pytest.raises(InputError, match=sentence):
        self_consistency_metrics(expert, torch.zeros(4, dtype=torch.int64), **wrong)
