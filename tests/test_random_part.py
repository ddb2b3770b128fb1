"""Content from a random part of the evidence: an ELBO for every part, also when solved."""

import copy
from itertools import combinations, product

import pytest
import torch
from estimating import draws, exact_elbo, gradients, parameters, problem, standard_error
from fitting import fit_small, make_pair, weights
from normals import posterior_of
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from test_own_guides import DeepSets, Flow, FullCovariance, MixtureOfExperts
from test_recorded_steps import assert_a_replay_is_the_eager_step, mlp
from torch.distributions import kl_divergence

from pyro_mlvae import GroupedBatch, InputError, MLPEncoder, ProductOfNormals, check
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.estimators.pathwise import pin
from pyro_mlvae.guides import AverageOfNormals, ThreeLevelGuide, VAEGuide
from pyro_mlvae.guides.random_part import parted, random_part, without_last
from pyro_mlvae.models import ThreeLevelMLVAE
from pyro_mlvae.solved import LinearGaussian

exactly = {"rtol": 1e-10, "atol": 1e-10}
SIZES = torch.tensor([1, 3, 2])


def parts_of(size):
    """Every part of a group, with its probability: k is uniform, and so is the part given k."""
    for k in range(1, size + 1):
        of_size = list(combinations(range(size), k))
        for part in of_size:
            yield part, 1.0 / size / len(of_size)


def test_a_part_is_k_of_n_with_k_uniform_and_each_part_of_k_as_likely():
    torch.manual_seed(3)
    copies, sizes = 20_000, [3, 1, 2]
    group = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    many = Groups((group + 3 * torch.arange(copies)[:, None]).flatten(), 3 * copies)
    drawn = random_part(many).reshape(copies, -1)
    start = 0
    for size in sizes:
        of_group = drawn[:, start : start + size]
        start += size
        for part, probability in parts_of(size):
            wanted = torch.zeros(size, dtype=torch.bool)
            wanted[list(part)] = True
            share = (of_group == wanted).all(1).double().mean()
            error = (probability * (1 - probability) / copies) ** 0.5
            assert abs(float(share) - probability) <= 4 * error
    # Groups are drawn by themselves.
    counts = drawn[:, [0, 1, 2]].sum(1).double(), drawn[:, [4, 5]].sum(1).double()
    assert abs(torch.corrcoef(torch.stack(counts))[0, 1]) < 4 / copies**0.5


@pytest.mark.parametrize(
    "kind", [ProductOfNormals, AverageOfNormals, DeepSets, FullCovariance, Flow]
)
def test_the_posterior_is_that_of_the_part_alone(kind):
    torch.manual_seed(0)
    guide = kind(MLPEncoder((5,), 4, 2, hidden=(8,), width=kind.width(4, 2))).double()
    x, group = torch.rand(6, 5).double(), torch.tensor([0, 1, 1, 0, 2, 2])
    fields = {"of_groups": {"z": torch.rand(3, 2)}, "of_observations": {"m": torch.rand(6)}}
    batch = GroupedBatch(x, group, 3, torch.tensor([0, 1, 1]), 2, **fields)
    part = torch.tensor([True, False, True, False, True, True])
    features = guide.encode(batch.x)
    index = part.nonzero().flatten()
    alone = guide.content_posterior(features[index], batch.members(index).groups)
    posterior = without_last(guide.content_posterior(*parted(features, batch.groups, part)))
    assert posterior.batch_shape == (3,)
    assert posterior.event_shape == (4,)
    value = torch.randn(3, 4).double()
    torch.testing.assert_close(posterior.log_prob(value), alone.log_prob(value), **exactly)
    many = posterior.expand([7, 3])
    values = torch.randn(7, 3, 4).double()
    torch.testing.assert_close(
        many.log_prob(values), alone.expand([7, 3]).log_prob(values), **exactly
    )
    for shape in ((), (2,)):
        assert posterior.rsample(torch.Size(shape)).shape == (*shape, 3, 4)
        assert many.rsample(torch.Size(shape)).shape == (*shape, 7, 3, 4)


def test_what_is_known_of_groups_and_observations_stays_with_them():
    fields = {"of_groups": {"z": torch.rand(2, 2)}, "of_observations": {"m": torch.arange(3)}}
    groups = Groups(
        torch.tensor([0, 1, 1]), 2, torch.tensor([1, 0]), 2, torch.tensor([7, 8]), **fields
    )
    features, others = parted(torch.arange(3.0)[:, None], groups, torch.tensor([True, True, False]))
    assert features.flatten().tolist() == [0, 1, 2, 0]
    assert others.group.tolist() == [0, 1, 2, 2]
    assert others.parent.tolist() == [1, 0, 2]
    assert (others.num_groups, others.num_parents) == (3, 3)
    assert others.group_id[:2].tolist() == [7, 8]
    assert torch.equal(others.of_groups["z"][:2], fields["of_groups"]["z"])
    assert others.of_observations["m"].tolist() == [0, 1, 2, 0]


def with_part(guide, part):
    """The guide whose content comes from this part, by means of its own."""

    class OfPart(type(guide)):
        def content_posterior(self, features, groups):
            index = part.nonzero().flatten()
            return super().content_posterior(features[index], groups.members(index))

    other = copy.copy(guide)
    other.__class__ = OfPart
    return other


def expectation(value, sizes, batch):
    """The mean of ``value(part)`` over all parts of all groups."""
    total = 0.0
    starts = [0, *torch.as_tensor(sizes).cumsum(0).tolist()]
    for chosen in product(*(list(parts_of(int(size))) for size in sizes)):
        part, probability = torch.zeros(len(batch), dtype=torch.bool), 1.0
        for start, (members, p) in zip(starts, chosen, strict=False):
            part[[start + m for m in members]] = True
            probability *= p
        total = total + probability * value(part)
    return total


def parted_problem(make=LinearGaussian.correlated):
    torch.manual_seed(0)
    solved, model, guide, batch = problem(make, SIZES)
    guide.random_part = True
    return solved, model, guide, batch


def test_the_elbo_of_every_part_is_below_the_evidence_and_touches_it_where_all_tell():
    torch.manual_seed(0)
    solved, model, guide, batch = problem(LinearGaussian.correlated, SIZES, by=0.0)
    evidence, found = float(solved.log_evidence(batch).sum()), []

    def note(part):
        found.append(float(exact_elbo(model, with_part(guide, part), batch)))
        return 0.0

    with torch.no_grad():
        expectation(note, SIZES, batch)
    assert len(found) == 1 * 7 * 3
    below = [evidence - value for value in found]
    assert sum(gap < 1e-9 for gap in below) == 1  # of the exact posterior, all the evidence alone
    assert min(below) > -1e-9
    assert max(below) > 0.5


@pytest.mark.parametrize("name", ["trace", "stl", "local"])
def test_estimates_and_gradients_are_those_of_the_mean_over_parts(name):
    _, model, guide, batch = parted_problem()
    exact = expectation(lambda part: exact_elbo(model, with_part(guide, part), batch), SIZES, batch)
    known = parameters(model, guide)
    wanted = dict(zip(known, torch.autograd.grad(exact, list(known.values())), strict=True))
    found = gradients(make_estimator(name), model, guide, batch, calls=20, copies=60)
    wanted["value"] = exact.detach().reshape(1)
    whole = exact_elbo(model, guide, batch)
    assert float((whole - exact).detach()) > 1.0  # far more than the errors
    for key, values in found.items():
        error = standard_error(values)
        difference = (values.mean(0) - wanted[key].flatten()).abs()
        assert (difference <= 5 * error + 1e-9).all(), key


@pytest.mark.parametrize("name", ["group-iwae", "nested-iwae"])
def test_bounds_with_weights_are_below_the_evidence_too(name):
    solved, model, guide, batch = parted_problem()
    evidence = float(solved.log_evidence(batch).sum())
    values = draws(make_estimator(name, 4), model, guide, batch, calls=5, copies=60)
    assert float(values.mean()) < evidence
    guide.random_part = False
    whole = draws(make_estimator(name, 4), model, guide, batch, calls=5, copies=60)
    assert float(values.mean()) < float(whole.mean())


class Parts(poutine.messenger.Messenger):
    """Notes the parts that are drawn."""

    def __init__(self):
        super().__init__()
        self.parts = []

    def _pyro_post_sample(self, msg):
        if msg["name"] == "evidence_part":
            self.parts.append(msg["value"])


@pytest.mark.parametrize("name", ["stl", "dreg"])
def test_a_guide_that_is_run_again_for_the_same_draws_has_the_same_part(name):
    _, model, guide, batch = parted_problem()
    with Parts() as seen:
        make_estimator(name, 2).differentiable_loss(model, guide, batch)
    assert len(seen.parts) >= 2
    pairs = zip(seen.parts[::2], seen.parts[1::2], strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_sticking_the_landing_has_no_variance_where_the_part_is_all_that_is_known():
    """Groups of one have one part: at the exact posterior each draw gives the evidence."""
    torch.manual_seed(0)
    solved, model, guide, batch = problem(
        LinearGaussian.correlated, torch.ones(4, dtype=torch.int64), by=0.0
    )
    guide.random_part = True
    found = gradients(make_estimator("stl"), model, guide, batch, calls=3, copies=1)
    torch.testing.assert_close(
        found["value"].flatten(), solved.log_evidence(batch).sum().expand(3), **exactly
    )
    assert all(v.abs().max() < 1e-9 for name, v in found.items() if name.startswith("guide"))


@pytest.mark.parametrize("particles", [{}, {"num_particles": 3, "vectorize_particles": True}])
@pytest.mark.parametrize("estimator", [Trace_ELBO, TraceGraph_ELBO])
def test_at_test_time_all_of_the_evidence_is_used_and_nothing_is_drawn_for_it(estimator, particles):
    values = []
    for evidence in ("whole", "random-part"):
        model, guide = make_pair()
        guide = ProductOfNormals(guide.encoder, evidence=evidence).eval()
        batch = GroupedBatch(torch.rand(6, 5), torch.tensor([0, 1, 0, 1, 1, 0]), 2)
        for mode in (False, True):
            guide.train(mode)
            torch.manual_seed(4)
            values.append(estimator(max_plate_nesting=1, **particles).loss(model, guide, batch))
        posterior_of(guide, batch)
    test, train, parted_test, parted_train = values
    assert test == train == parted_test != parted_train


def test_all_observations_are_reconstructed():
    _, model, guide, batch = parted_problem()
    nothing_else = torch.tensor([True, True, False, False, True, False])
    guide_trace = poutine.trace(pin(guide, {"evidence_part": nothing_else})).get_trace(batch)
    trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(batch)
    assert torch.equal(trace.nodes["x"]["value"], batch.x)
    assert trace.nodes["style"]["value"].shape[0] == len(batch)


def three_levels(**options):
    model, guide, x = mlp(ThreeLevelMLVAE, ThreeLevelGuide, **options)
    return model.double(), guide.double(), x.double()


def test_in_three_levels_both_contents_come_from_the_part():
    _, guide, x = three_levels(evidence="random-part")
    parent = torch.tensor([0, 1, 1])
    batch = GroupedBatch(x, torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]), 3, parent, 2)
    part = torch.tensor([True, False, False, True, True, False, True, False])
    drawn = poutine.trace(pin(guide, {"evidence_part": part})).get_trace(batch)
    index = part.nonzero().flatten()
    fixed = {name: drawn.nodes[name]["value"] for name in ("super_content", "content")}
    guide.random_part = False
    alone = poutine.trace(pin(guide, fixed)).get_trace(batch.members(index))
    for site in fixed:
        one, other = drawn.nodes[site]["fn"], alone.nodes[site]["fn"]
        torch.testing.assert_close(
            kl_divergence(one, other), torch.zeros(len(fixed[site])).double(), **exactly
        )
    whole = poutine.trace(pin(guide, fixed)).get_trace(batch)
    assert (
        kl_divergence(drawn.nodes["super_content"]["fn"], whole.nodes["super_content"]["fn"]).min()
        > 1e-4
    )


def full_covariance():
    encoder = MLPEncoder((5,), 2, 2, hidden=(8,), width=FullCovariance.width(2, 2))
    model, _, x = mlp()
    return model, FullCovariance(encoder, evidence="random-part"), x


@pytest.mark.parametrize(
    ("make", "estimator"),
    [
        (lambda: mlp(ThreeLevelMLVAE, ThreeLevelGuide, evidence="random-part"), "nested-iwae 1"),
        (full_covariance, "stl 1"),
    ],
    ids=["three levels", "full covariance"],
)
def test_a_recorded_step_draws_a_new_part_as_the_eager_one_does(make, estimator):
    assert_a_replay_is_the_eager_step(make, estimator)


def test_a_seed_gives_the_same_run_and_the_option_another():
    ends = []
    for evidence in ("random-part", "random-part", "whole"):
        model, guide = make_pair()
        guide = ProductOfNormals(guide.encoder, evidence=evidence)
        fit_small(model, guide, epochs=1)
        ends.append(torch.cat([w.flatten() for w in weights(model, guide)]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("kind", [Flow, MixtureOfExperts])
def test_own_guides_take_a_part_and_are_sound(kind):
    torch.manual_seed(0)
    model, _ = make_pair(dim=4)
    guide = kind(
        MLPEncoder((5,), 4, 4, hidden=(8,), width=kind.width(4, 4)), evidence="random-part"
    )
    check(model, guide, GroupedBatch(torch.rand(6, 5), torch.tensor([0, 0, 0, 1, 2, 2]), 3))
    history = fit_small(model, guide, epochs=1, estimator=Trace_ELBO(num_particles=2))
    assert torch.isfinite(torch.tensor(history.epochs[-1].objective))


def test_single_observations_are_their_own_part():
    vae = VAEGuide(MLPEncoder((5,), 2, 2, hidden=(8,)), evidence="random-part")
    batch = GroupedBatch(torch.rand(6, 5), torch.zeros(6, dtype=torch.int64), 1)
    with Parts() as seen:
        vae(batch)
    assert bool(torch.stack(seen.parts).all())


def test_evidence_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"unknown evidence 'half'.*whole.*random-part"):
        ProductOfNormals(MLPEncoder((5,), 2, 2), evidence="half")
