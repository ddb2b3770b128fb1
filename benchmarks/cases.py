"""What is timed: the paper's pair on MNIST's shapes, batches, and one step of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pyro
import torch
from pyro.infer import ELBO
from timing import Action, Turn
from torch import Tensor, nn

from pyro_mlvae import MLVAE, GroupedBatch, MLPDecoder, MLPEncoder, ProductOfNormals, make_estimator
from pyro_mlvae.likelihoods import LearnedNormalLikelihood
from pyro_mlvae.training import fused_adam
from pyro_mlvae.training.ranks import Share
from pyro_mlvae.training.step import Step

EVENT_SHAPE = (1, 28, 28)
LEARNING_RATE = 1e-3

Pair = tuple[MLVAE, ProductOfNormals]
# Of a batch, the turn of a step on it.
StepOn = Callable[[GroupedBatch], Turn]


def paper_pair(
    content_dim: int = 10,
    style_dim: int = 10,
    *,
    event_shape: Sequence[int] = EVENT_SHAPE,
    device: torch.device | str = "cpu",
) -> Pair:
    """The paper's networks and likelihood; always the same weights, each time in fresh memory."""
    torch.manual_seed(0)
    decoder = MLPDecoder(event_shape, content_dim, style_dim, outputs=2)
    model = MLVAE(decoder, LearnedNormalLikelihood(), content_dim, style_dim)
    guide = ProductOfNormals(MLPEncoder(event_shape, content_dim, style_dim))
    return model.to(device), guide.to(device)


def observations(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Noise in [0, 1]: what the values are changes no time."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, *EVENT_SHAPE, generator=generator).to(device)


def even_sizes(count: int, groups: int) -> list[int]:
    """The sizes of ``groups`` groups that share ``count`` observations, equal but for one.

    >>> even_sizes(11, 3)
    [4, 4, 3]
    """
    return [count // groups + (i < count % groups) for i in range(groups)]


def grouped(x: Tensor, sizes: Sequence[int]) -> GroupedBatch:
    """``x`` in groups of those sizes; the same memory every time."""
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return GroupedBatch(x, group.to(x.device), len(sizes))


def our_step(pair: tuple[nn.Module, nn.Module], estimator: ELBO | None = None) -> StepOn:
    """Steps as ``fit`` makes them, by default of "trace".

    As there, its scope of the parameter store is gone into once, before the first of several.
    """
    store = pyro.get_param_store()
    with store.scope() as state:
        pass
    step = Step(*pair, estimator or make_estimator("trace"), fused_adam(LEARNING_RATE))

    @contextmanager
    def turn(batch: GroupedBatch) -> Iterator[Action]:
        with store.scope(state), step.unchecked():
            yield lambda: step.take([Share(batch, batch.num_groups)])

    return lambda batch: partial(turn, batch)


def matrix_products(pair: Pair, x: Tensor) -> Callable[[], None]:
    """Every matrix product of a step on ``x``, forward and backward, and nothing else: no step is faster.

    Of each layer: its outputs, the gradient of its weights, and that of its inputs, which nobody asks
    for where these are ``x``. Results go to memory that is there already.
    """
    model, guide = pair
    products: list[tuple[Tensor, Tensor, Tensor]] = []
    for network, is_first in ((guide.encoder, True), (model.decoder, False)):
        for layer in network.modules():
            if not isinstance(layer, nn.Linear):
                continue
            weight = layer.weight.detach()
            inputs = x.flatten(1) if is_first else x.new_ones(len(x), layer.in_features)
            outputs = x.new_ones(len(x), layer.out_features)
            products.append((inputs, weight.t(), torch.empty_like(outputs)))
            products.append((outputs.t(), inputs, torch.empty_like(weight)))
            if not is_first:
                products.append((outputs, weight, torch.empty_like(inputs)))
            is_first = False

    def multiply() -> None:
        for left, right, product in products:
            torch.mm(left, right, out=product)

    return multiply
