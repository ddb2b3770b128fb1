"""A step beside its limits and peers.

All cases of one size take turns, so that every ratio is of times of the same minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec

import pyro
import torch
from handwritten import handwritten_step
from pyro.infer import SVI
from timing import Turn, interleaved, row
from torch import Tensor, nn

from pyro_mlvae import MLVAE, GroupedBatch, MLPDecoder, MLPEncoder, ProductOfNormals
from pyro_mlvae.likelihoods import LearnedNormalLikelihood
from pyro_mlvae.training import Captured, Objective, fused_adam
from pyro_mlvae.training.gradients import Checked

MNIST, DIGITS = (1, 28, 28), (1, 8, 8)
GROUPS = 10
# Observations, and the shape of one: the demo, and MNIST twice.
SIZES: tuple[tuple[int, Sequence[int]], ...] = ((160, DIGITS), (256, MNIST), (1024, MNIST))
INSTANCES = 3
# Ratios to the hand-written step that are asked for.
ASKED = {
    160: {"captured": 1.25, "compiled": 0.72},
    256: {"eager": 1.30, "captured": 1.0, "compiled": 0.90},
    1024: {"captured": 0.95, "compiled": 0.87},
}
Pair = tuple[MLVAE, ProductOfNormals]


def step_rows(
    rounds: int,
    *,
    device: str = "cpu",
    sizes: Sequence[tuple[int, Sequence[int]]] = SIZES,
    compiled: bool = True,
    instances: int = INSTANCES,
) -> list[list[str]]:
    """Whole steps at each size, in 10 groups, as rows of a table.

    Args:
        rounds: how often each case is timed.
        device: where.
        sizes: the numbers of observations, and their shapes.
        compiled: whether compiled steps and NumPyro's take part; each takes a while to begin.
        instances: of each case.
    """
    rows = []
    for count, event_shape in sizes:
        x = observations(count, event_shape).to(device)
        batch = grouped(x, even_sizes(count, GROUPS))
        pair = partial(paper_pair, event_shape, device)
        makers: dict[str, Callable[[], Turn]] = {
            "hand-written": lambda pair=pair, batch=batch: by_hand(pair(), batch),
            "eager": lambda pair=pair, batch=batch: our_step(pair(), Objective())(batch),
            "captured": lambda pair=pair, batch=batch: our_step(pair())(batch),
        }
        if compiled:
            makers["compiled"] = lambda pair=pair, batch=batch: our_step(
                pair(), captured(compile=True)
            )(batch)
            if device == "cpu" and find_spec("numpyro") is not None:
                makers["NumPyro"] = lambda pair=pair, batch=batch: in_numpyro(pair(), batch)
        makers["matrix products"] = lambda pair=pair, x=x: partial(
            nullcontext, matrix_products(pair(), x)
        )
        part = f"a step, {count:,} x {x[0].numel()}"
        times = interleaved(
            {n: [make() for _ in range(instances)] for n, make in makers.items()},
            rounds,
            label=part,
        )
        rows += [
            row(part, name, times, "hand-written", ASKED.get(count, {}).get(name)) for name in times
        ]
    return rows


def paper_pair(event_shape: Sequence[int] = MNIST, device: str = "cpu") -> Pair:
    """The paper's networks and likelihood; always the same weights, each time in fresh memory."""
    torch.manual_seed(0)
    model = MLVAE(MLPDecoder(event_shape, 10, 10, outputs=2), LearnedNormalLikelihood(), 10, 10)
    return model.to(device), ProductOfNormals(MLPEncoder(event_shape, 10, 10)).to(device)


def observations(count: int, event_shape: Sequence[int] = MNIST) -> Tensor:
    """Noise in [0, 1]: what the values are changes no time."""
    return torch.rand(count, *event_shape, generator=torch.Generator().manual_seed(1))


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


def captured(*, compile: bool = False) -> Captured:
    """An objective that is recorded at its first step, and replayed from then on."""
    return Captured(Objective(), compile=compile, after=0)


def our_step(
    pair: tuple[nn.Module, nn.Module], objective: Objective | Captured | None = None
) -> Callable[[GroupedBatch], Turn]:
    """Steps of SVI as ``fit`` makes them once it has looked at the first.

    The scope of the parameter store is entered before the steps of a turn, and takes no time of
    theirs.
    """
    store = pyro.get_param_store()
    with store.scope() as state:
        pass
    svi = SVI(*pair, fused_adam(1e-3), loss=Checked(objective or captured()))

    @contextmanager
    def turn(batch: GroupedBatch) -> Iterator[Callable[[], object]]:
        with store.scope(state), pyro.validation_enabled(False):
            yield partial(svi.step, batch)

    return lambda batch: partial(turn, batch)


def by_hand(pair: Pair, batch: GroupedBatch) -> Turn:
    """The same step in plain PyTorch."""
    model, guide = pair
    return partial(nullcontext, partial(handwritten_step(guide.encoder, model.decoder), batch))


def in_numpyro(pair: Pair, batch: GroupedBatch) -> Turn:
    """The same step in NumPyro, jitted."""
    from in_numpyro import numpyro_step

    model, guide = pair
    return partial(nullcontext, numpyro_step(guide.encoder, model.decoder, batch))


def matrix_products(pair: Pair, x: Tensor) -> Callable[[], None]:
    """Every matrix product of a step on ``x``, and nothing else: no step is faster.

    Of each layer: its outputs, the gradient of its weights, and that of its inputs, which nobody
    asks for where these are ``x``. Results go to memory that is there already.
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
