"""What estimators are compared on: one pair, one batch, and what both are trained on."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_mlvae.data import GroupedDataset, GroupSampler, Sampler, load_dataset
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators.pathwise import reparameterised
from pyro_mlvae.estimators.programs import seeded
from pyro_mlvae.evaluation import fixed_groups
from pyro_mlvae.guides import ProductOfNormals
from pyro_mlvae.networks import MLPEncoder, StyleGivenContent
from pyro_mlvae.solved import (
    LinearGaussian,
    LinearGaussianGuide,
    LinearGaussianModel,
    PolynomialMixture,
    PolynomialMixtureModel,
)

Module = TypeVar("Module", bound=nn.Module)
# Held-out observations on which training curves are measured: enough to rank, and quick.
MOST_HELD_OUT = 200
_MIXTURE_GROUPS, _MIXTURE_HIDDEN = 200, (64,)


@runtime_checkable
class Solved(Protocol):
    """A model whose evidence is known."""

    def log_evidence(self, batch: GroupedBatch) -> Tensor:
        """The exact log evidence of each group, in nats."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A model and a guide with the data on which estimators are compared.

    Attributes:
        name: what the data is called.
        model: the model, with its initial weights; trainable, so that its gradient can be measured.
        guide: the guide, with its initial weights.
        batch: the fixed batch on which values and gradients are measured.
        sampler: of the minibatches of training.
        held_out: the fixed batch on which training curves are measured.
        solved: the solved model that the data is drawn from, where the evidence is known exactly.
        units: what values are measured in: "nats", or "pseudo-nats" of a likelihood that is no
            density.
        learning_rate: Adam's, in training.
    """

    name: str
    model: nn.Module
    guide: nn.Module
    batch: GroupedBatch
    sampler: Sampler
    held_out: GroupedBatch
    solved: Solved | None = None
    units: str = "nats"
    learning_rate: float = 1e-3

    def pair(self) -> tuple[nn.Module, nn.Module]:
        """A copy of the model and the guide with their initial weights."""
        return _copied(self.model), _copied(self.guide)

    def trained_model(self, model: nn.Module) -> nn.Module:
        """The model as it takes part in training: of the solved model the truth, which stays."""
        return (
            LinearGaussianModel(self.solved) if isinstance(self.solved, LinearGaussian) else model
        )

    def log_evidence(self, batch: GroupedBatch) -> float | None:
        """The exact log evidence of all groups together, in nats, where it is known."""
        return None if self.solved is None else float(self.solved.log_evidence(batch).sum())


def make_problem(
    name: str,
    model: nn.Module,
    guide: nn.Module,
    train: GroupedDataset,
    held_out: GroupedDataset,
    *,
    groups: int = 10,
    observations_per_group: int = 16,
    sampler: Sampler | None = None,
    solved: Solved | None = None,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Problem:
    """A problem of any pair on any data.

    Args:
        name: what the data is called.
        model: the model, untrained.
        guide: its guide, untrained.
        train: data to train on; the fixed batch is taken from it.
        held_out: data on which training curves are measured, at most 200 observations of it.
        groups: groups in the fixed batch, or fewer where the data has fewer.
        observations_per_group: at most so many observations stand for a group, in either batch.
        sampler: of the minibatches of training; by default of as many groups and observations.
        solved: the solved model that the data is drawn from, if it is.
        learning_rate: Adam's, in training.
        seed: of the choice of groups and observations.

    Raises:
        InputError: a number is not positive, or a draw of the guide is not reparameterised:
            gradients and weights of most estimators ask for that.
    """
    require_positive(groups=groups, observations_per_group=observations_per_group)
    own = GroupSampler(train, groups, observations_per_group, seed=seed)
    # Of the device and floating-point type of the weights.
    weight = next(iter(guide.parameters()))
    batch = next(own.epoch(0)).to(weight.device, weight.dtype)
    with seeded(guide, device=weight.device, seed=seed):
        reparameterised("the comparison", poutine.trace(guide).get_trace(batch))
    curves = fixed_groups(
        held_out.sample(MOST_HELD_OUT, seed=seed), observations_per_group, seed=seed
    )
    return Problem(
        name,
        model,
        guide,
        batch,
        own if sampler is None else sampler,
        curves.to(weight.device, weight.dtype),
        solved,
        getattr(getattr(model, "likelihood", None), "units", "nats"),
        learning_rate,
    )


def solved_problem(
    *,
    groups: int = 10,
    observations_per_group: int = 16,
    learning_rate: float = 1e-2,
    seed: int = 0,
    exact: bool = False,
) -> Problem:
    """The solved model, whose evidence is known, with a guide that starts at random; in float64.

    Args:
        groups: groups in the fixed batch.
        observations_per_group: at most so many observations stand for a group.
        learning_rate: Adam's, in training.
        seed: of the guide, and the choice of groups and observations.
        exact: whether the guide is the exact posterior instead.

    The model holds the truth as parameters, whose gradient is measured, but which never train.

    >>> problem = solved_problem(groups=3, observations_per_group=2)
    >>> problem.batch.num_groups, problem.batch.x.dtype, problem.log_evidence(problem.batch) < 0
    (3, torch.float64, True)
    """
    solved = LinearGaussian.orthogonal()
    data = load_dataset("linear-gaussian")
    train, held_out = replace(data, x=torch.as_tensor(data.x).double()).split(0.2, seed=seed)
    dim, content_dim = solved.content_loading.shape
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        guide = LinearGaussianGuide(dim, content_dim, solved.style_loading.shape[1]).double()
    return make_problem(
        "linear-gaussian",
        trainable_model(solved),
        LinearGaussianGuide.exact(solved) if exact else guide,
        train,
        held_out,
        groups=groups,
        observations_per_group=observations_per_group,
        solved=solved,
        learning_rate=learning_rate,
        seed=seed,
    )


def mixture_problem(
    *,
    groups: int = 10,
    observations_per_group: int = 16,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> Problem:
    """The solved model whose posterior has two modes, with a guide of Normals; in float64.

    The model is the truth, and does not train: what is compared is how the guide does.

    >>> problem = mixture_problem(groups=3, observations_per_group=2)
    >>> problem.batch.num_groups, problem.log_evidence(problem.batch) < 0
    (3, True)
    """
    solved = PolynomialMixture.bimodal()
    drawn = solved.sample(torch.full((_MIXTURE_GROUPS,), observations_per_group), seed=seed)
    data = GroupedDataset.from_arrays(drawn.x, drawn.group)
    train, held_out = data.split_groups(0.2, seed=seed)  # whatever the size of a group
    dim, style_dim = solved.style_loading.shape
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        encoder = MLPEncoder((dim,), content_dim=1, style_dim=style_dim, hidden=_MIXTURE_HIDDEN)
        given = StyleGivenContent(content_dim=1, style_dim=style_dim, hidden=_MIXTURE_HIDDEN)
        guide = ProductOfNormals(encoder, style_given_content=given).double()
    return make_problem(
        "mixture",
        PolynomialMixtureModel(solved),
        guide,
        train,
        held_out,
        groups=groups,
        observations_per_group=observations_per_group,
        solved=solved,
        learning_rate=learning_rate,
        seed=seed,
    )


def trainable_model(solved: LinearGaussian) -> LinearGaussianModel:
    """The solved model with its loadings and its offset as parameters instead of constants."""
    model = LinearGaussianModel(solved)
    decoder = model.decoder
    for name, value in dict(decoder.named_buffers()).items():
        delattr(decoder, name)
        decoder.register_parameter(name, nn.Parameter(Tensor(value).clone()))
    return model


def _copied(module: Module) -> Module:
    """A deep copy, also of what keeps results of its last run, as the transforms of a flow do."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for kept in vars(part).values():
            for value in kept if isinstance(kept, tuple | list) else [kept]:
                if isinstance(value, Tensor) and value.grad_fn is not None:
                    memo[id(value)] = value.detach()
    return copy.deepcopy(module, memo)
