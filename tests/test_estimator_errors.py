"""What ELBO estimators refuse, each in one sentence, and that nothing stays changed."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from estimating import problem
from pyro import poutine
from pyro.nn import PyroModule

from pyro_mlvae import InputError
from pyro_mlvae.estimators import ESTIMATORS, GroupIWAE, make_estimator
from pyro_mlvae.solved import LinearGaussian

WEIGHTED = ["group-iwae", "group-renyi", "dreg"]


@pytest.fixture
def pair():
    _, model, guide, batch = problem(LinearGaussian.correlated)
    return model, guide, batch


def plain_pair(content=None, style=None, where="observations", alone=True):
    """A guide of one site each for content and style, and the model of the same sites."""
    zero = torch.zeros(()).double()
    prior = dist.Normal(zero, 1.0)

    def program(content, style):
        def run(batch):
            groups = batch.num_groups if alone else 3
            with pyro.plate("groups", groups, dim=-1):
                pyro.sample("content", content)
            with pyro.plate(where, len(batch), dim=-1):
                pyro.sample("style", style)

        return run

    discrete = style is not None and not style.has_rsample
    like = dist.Bernoulli(zero + 0.5) if discrete else prior
    return program(prior, like), program(content or prior, style or prior)


def refuse(name, match, model, guide, batch, num_particles=2):
    with pytest.raises(InputError, match=match) as caught:
        make_estimator(name, num_particles).loss_and_grads(model, guide, batch)
    assert "\n" not in str(caught.value)


def test_an_unknown_estimator_lists_the_known_ones():
    with pytest.raises(
        InputError, match=r"did you mean 'group-iwae'\? Known are trace, mean-field"
    ) as caught:
        make_estimator("group-iwea")
    assert all(name in str(caught.value) for name in ESTIMATORS)


@pytest.mark.parametrize("alpha", [-0.1, 1.0, 2.0, float("nan")])
def test_an_order_outside_zero_to_one_is_refused(alpha):
    with pytest.raises(InputError, match=r"must be in \[0, 1\), got .*: take 0 for group-iwae"):
        make_estimator("group-renyi", alpha=alpha)


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"renyi", "group-renyi"}))
def test_an_order_is_refused_where_there_is_none(name):
    with pytest.raises(
        InputError, match=f"order of renyi and group-renyi, but the estimator is '{name}'"
    ):
        make_estimator(name, alpha=0.5)


def test_an_order_is_taken_where_there_is_one():
    assert make_estimator("renyi", 2, alpha=0.3).alpha == 0.3
    assert make_estimator("group-renyi", 2, alpha=0.3).alpha == 0.3
    assert make_estimator("group-renyi", 2).alpha == 0.5
    assert make_estimator("renyi", 2).alpha == 0.0


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("num_particles", [0, -1])
def test_there_must_be_a_whole_number_of_particles(name, num_particles):
    with pytest.raises(InputError, match="num_particles must be a positive whole number"):
        make_estimator(name, num_particles)


@pytest.mark.parametrize("name", [*WEIGHTED, "local"])
def test_sites_outside_both_plates_are_refused_by_name(name, pair):
    refuse(
        name,
        r"needs? every site in the plate .*'style' is in neither",
        *plain_pair(where="cells"),
        pair[2],
    )


@pytest.mark.parametrize("name", [*WEIGHTED, "local"])
def test_sites_of_different_scales_are_refused(name, pair):
    model, guide, batch = pair
    refuse(name, r"must all have one scale, got", poutine.scale(model, 0.5), guide, batch)


@pytest.mark.parametrize("name", [*WEIGHTED, "stl", "local"])
@pytest.mark.parametrize("num_particles", [1, 3])
def test_draws_without_a_path_are_refused_by_site_and_distribution(name, num_particles, pair):
    model, guide = plain_pair(style=dist.Bernoulli(torch.tensor(0.4).double()))
    refuse(
        name,
        r"site 'style' is Bernoulli.*use the estimator 'trace'",
        model,
        guide,
        pair[2],
        num_particles,
    )


def test_local_refuses_content_whose_divergence_it_does_not_know(pair):
    model, guide = plain_pair(content=dist.Laplace(torch.zeros(()).double(), 1.0))
    refuse(
        "local", r"needs Normal content.*'content' is Laplace: use 'trace'", model, guide, pair[2]
    )


def test_local_refuses_programs_that_do_not_take_groups_of_one(pair):
    refuse(
        "local",
        r"'groups' of 'content' must be of the batch's size",
        *plain_pair(alone=False),
        pair[2],
    )


def test_local_refuses_a_guide_with_parameters_of_its_own_for_each_group(pair):
    loc = torch.zeros(3).double()
    model, guide = plain_pair(content=dist.Normal(loc, 1.0))
    refuse(
        "local",
        r"runs model and guide on batch.singletons\(\), 24 groups of one",
        model,
        guide,
        pair[2],
    )


class Failing(PyroModule):
    """A program that raises when it is run for the n-th time."""

    def __init__(self, program, runs):
        super().__init__(name="failing")
        self.program, self.left = program, runs

    def forward(self, batch):
        self.left -= 1
        if not self.left:
            raise KeyError("of the user's own")
        return self.program(batch)


@pytest.mark.parametrize("name", ["stl", "dreg"])
@pytest.mark.parametrize(("fails", "runs"), [("model", 1), ("guide", 1), ("guide", 2), (None, 0)])
def test_parameters_require_gradients_as_before_whatever_happens(name, fails, runs, pair):
    """And no warning escapes, which would be an error here."""
    model, guide, batch = pair
    # Of a module in training Pyro would warn itself.
    guide.encoder.eval().style.bias.requires_grad_(False)
    before = {n: p.requires_grad for n, p in guide.named_parameters()}
    programs = [
        Failing(p, runs if fails == kind else 0) for kind, p in (("model", model), ("guide", guide))
    ]
    estimator = make_estimator(name, 3)
    if fails:
        with pytest.raises(KeyError, match="of the user's own"):
            estimator.loss_and_grads(*programs, batch)
    else:
        estimator.loss_and_grads(*programs, batch)
        assert all((p.grad is not None) == before[n] for n, p in guide.named_parameters())
    assert {n: p.requires_grad for n, p in guide.named_parameters()} == before
    assert all(p.requires_grad for p in model.parameters())


def test_without_gradients_none_are_made(pair):
    model, guide, batch = pair
    GroupIWAE(2).loss(model, guide, batch)
    make_estimator("dreg", 3).loss(model, guide, batch)
    assert all(p.grad is None for m in (model, guide) for p in m.parameters())
