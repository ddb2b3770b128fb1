"""What is timed: the paper's pair on MNIST's shapes, batches, and one step of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO, SVI
from pyro.optim import PyroOptim
from timing import Action, Turn
from torch import Tensor, nn

from pyro_mlvae import MLVAE, GroupedBatch, MLPDecoder, MLPEncoder, ProductOfNormals
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.likelihoods import LearnedNormalLikelihood
from pyro_mlvae.training import Captured, Objective, fused_adam
from pyro_mlvae.training.gradients import Checked

EVENT_SHAPE = (1, 28, 28)
SMALL_SHAPE = (1, 8, 8)  # the embedded digits
LEARNING_RATE = 1e-3
RECORDED_AFTER = 0  # steps: at the first

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


class PlainLikelihood(LearnedNormalLikelihood):
    """The paper's likelihood with Pyro's own Normal."""

    def forward(self, loc: Tensor, raw: Tensor) -> Any:
        return dist.Normal(loc, (0.5 * raw.tanh()).exp())


class PlainGuide(ProductOfNormals):
    """The paper's guide with Pyro's own Normals."""

    def content_posterior(self, features: Tensor, groups: Groups) -> Any:
        return _plain(super().content_posterior(features, groups))

    def style_posterior(self, features: Tensor, content: Tensor) -> Any:
        return _plain(super().style_posterior(features, content))


def _plain(posterior: Any) -> Any:
    normal = posterior.base_dist
    return dist.Normal(normal.loc, normal.scale).to_event(1)


def plain_pair(*, device: torch.device | str = "cpu") -> Pair:
    """:func:`paper_pair` without ``LogVarianceNormal``."""
    model, guide = paper_pair()
    plain_guide = PlainGuide(guide.encoder)
    model.likelihood = PlainLikelihood()
    return model.to(device), plain_guide.to(device)


def observations(
    count: int, device: torch.device | str = "cpu", event_shape: Sequence[int] = EVENT_SHAPE
) -> Tensor:
    """Noise in [0, 1]: what the values are changes no time."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, *event_shape, generator=generator).to(device)


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


def our_step(
    pair: tuple[nn.Module, nn.Module],
    objective: Objective | Captured | None = None,
    optimizer: PyroOptim | None = None,
) -> StepOn:
    """Steps of SVI as ``fit`` makes them once it has looked at the first.

    Args:
        pair: the model and its guide.
        objective: by default recorded and replayed.
        optimizer: by default that of ``fit``.

    The scope of the parameter store is entered before the steps of a turn, and takes no time of theirs.
    """
    store = pyro.get_param_store()
    with store.scope() as state:
        pass
    loss = Checked(captured() if objective is None else objective)
    svi = SVI(*pair, optimizer or fused_adam(LEARNING_RATE), loss=loss)

    @contextmanager
    def turn(batch: GroupedBatch) -> Iterator[Action]:
        with store.scope(state), pyro.validation_enabled(False):
            yield lambda: svi.step(batch)

    return lambda batch: partial(turn, batch)


def captured(estimator: ELBO | None = None, *, compile: bool = False) -> Captured:
    """An objective that is recorded at its first step, and replayed from then on."""
    return Captured(Objective(estimator), compile=compile, after=RECORDED_AFTER)


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
