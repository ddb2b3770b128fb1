"""Steps recorded as a graph of tensor operations, and replayed: Pyro's handlers are paid for once.

A step (guide, model, estimator, penalties, their gradient) is the same sequence of tensor
operations for every minibatch of the same shapes. ``make_fx`` records it, draws included, and the
graph is run from there, with or without ``torch.compile``. The first replay is compared with the
eager step before it is trusted. Where anything stands in the way, steps stay eager.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.pathwise import PathwiseELBO
from pyro_mlvae.estimators.programs import Program, modules_of
from pyro_mlvae.estimators.trace import PathwiseMeanField, PathwiseTrace
from pyro_mlvae.training.graph import Graph
from pyro_mlvae.training.objective import Objective
from pyro_mlvae.training.wrapped import Wrapped

# Recording takes half a second, which so many replays earn; compiled graphs are recorded at once.
_SEEN_BEFORE = 20
# So many shapes of minibatches are recorded: compiling each takes seconds.
MOST_GRAPHS = 8
# How far a replay may be from the eager step, relative to the largest value of a tensor.
_TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
# What of Pyro's reads numbers on its way, and the same without.
_RECORDABLE: dict[type[ELBO], type[PathwiseELBO]] = {
    Trace_ELBO: PathwiseTrace,
    TraceGraph_ELBO: PathwiseTrace,  # the same where every draw is reparameterised
    TraceMeanField_ELBO: PathwiseMeanField,
}


class Captured(Wrapped):
    """An objective whose steps are recorded, shape by shape, and replayed.

    Args:
        objective: what is recorded.
        compile: whether graphs go through ``torch.compile``, which takes seconds for each shape. It
            draws the same numbers, but rounds differently in the last digit.
        after: a shape is recorded when it has been seen so many times before.

    Attributes:
        note: why steps are eager; None where they are replayed.

    >>> from pyro.infer import SVI
    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> from pyro_mlvae.training import fused_adam
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide(16, 3, 2).double()
    >>> captured = Captured(Objective(), after=1)
    >>> with pyro.get_param_store().scope():
    ...     svi = SVI(*pair, fused_adam(1e-3), loss=captured)
    ...     losses = [svi.step(batch) for _ in range(3)]
    >>> captured.note is None, len(captured.recorded)
    (True, 1)
    """

    def __init__(
        self, objective: Objective, *, compile: bool = False, after: int | None = None
    ) -> None:
        super().__init__(objective)
        self._compile = compile
        self._after = (0 if compile else _SEEN_BEFORE) if after is None else after
        self._granted: list[Hashable] = []
        self._seen: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, Graph] = {}
        self._recording = _recordable(objective)
        self.note: str | None = None
        if self._recording is None:
            name = type(objective.estimator).__name__
            self.note = f"steps are eager: {name} reads numbers on its way, and cannot be recorded"

    @property
    def recorded(self) -> list[Hashable]:
        """The shapes that were recorded, in order."""
        return [*self._graphs]

    def grant(self, shapes: Sequence[Any]) -> None:
        """Record these shapes, those of an interrupted run, as soon as they are met."""
        self._granted.extend(_in_tuples(shape) for shape in shapes)

    def loss_and_grads(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        """The objective; its gradient is added to the parameters'."""
        shape = _shape(batch)
        graph = self._graphs.get(shape)
        if graph is not None:
            return self._replay(graph, batch)
        if self._due(shape):
            return self._record(model, guide, batch, shape)
        return self._eager(model, guide, batch)

    def _due(self, shape: Hashable) -> bool:
        if self.note is not None or len(self._graphs) >= MOST_GRAPHS:
            return False
        self._seen[shape] += 1
        return shape in self._granted or self._seen[shape] > self._after

    def _eager(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        loss = self.objective.loss_and_grads(model, guide, batch)
        self._take_terms()
        return loss

    def _replay(self, graph: Graph, batch: GroupedBatch) -> float:
        # SVI steps on what it sees registered.
        for name in graph.parameters:
            pyro.param(name)
        step = graph.run(batch, self.steps)
        self.terms, self.penalised, self.norm = step.terms, step.penalised, step.norm
        for parameter, gradient in zip(graph.parameters.values(), step.gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad += gradient
        self.steps += 1
        return float(step.loss)

    def _record(
        self, model: Program, guide: Program, batch: GroupedBatch, shape: Hashable
    ) -> float:
        """An eager step, beside which the same step is recorded and replayed: are they equal?"""
        assert self._recording is not None
        store, steps = pyro.get_param_store(), self.steps
        held = {name: p.grad for name, p in store.named_parameters()}
        for _, parameter in store.named_parameters():
            parameter.grad = None
        with _same_draws(model, guide, batch) as again:
            loss = self._eager(model, guide, batch)
            parameters = {n: p for n, p in store.named_parameters() if p.grad is not None}
            eager: list[Any] = [p.grad for p in parameters.values()]
            gradients: list[Any] = eager
            try:
                again()
                graph = Graph.record(
                    self._recording, model, guide, batch, parameters, compile=self._compile
                )
                again()
                step = graph.run(batch, steps)
                _compare([step.loss.new_tensor(loss), *eager], [step.loss, *step.gradients])
            except Exception as error:
                first = next(iter(str(error).strip().splitlines()), "no message")
                self.note = f"steps are eager: recording one met {type(error).__name__}: {first}"
            else:
                self._graphs[shape] = graph
                self.terms, self.penalised = step.terms, step.penalised
                loss, gradients = float(step.loss), step.gradients
        for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
            pyro.param(name)  # recording has taken off what SVI knows a parameter by
            before: Any = held.get(name)
            parameter.grad = gradient if before is None else before + gradient
        return loss


def _shape(batch: GroupedBatch) -> Hashable:
    """What of a batch is fixed in a graph: sizes and dtypes, not values."""
    sizes = [
        (name, (*tensor.shape,), str(tensor.dtype)) for name, tensor in batch.tensors().items()
    ]
    return (batch.num_groups, batch.num_parents, *sizes)


def _in_tuples(value: Any) -> Any:
    """A shape as it was before JSON made lists of its tuples."""
    return tuple(map(_in_tuples, value)) if isinstance(value, list | tuple) else value


def _recordable(objective: Objective) -> Objective | None:
    """An objective of equal value and gradient that reads no number on its way, or None."""
    estimator = objective.estimator
    if isinstance(estimator, PathwiseELBO):
        return objective
    other = _RECORDABLE.get(type(estimator))
    if other is None:
        return None
    same = other.__new__(other)
    same.__dict__.update({k: v for k, v in vars(estimator).items() if k != "_get_trace"})
    return Objective(same, penalties=objective.penalties)


@contextmanager
def _same_draws(
    model: Program, guide: Program, batch: GroupedBatch
) -> Iterator[Callable[[], None]]:
    """Gives a function that resets random state and buffers, for runs with equal draws."""
    cuda = batch.x.device if batch.x.device.type == "cuda" else None
    buffers = [buffer for module in modules_of(model, guide) for buffer in module.buffers()]

    def state() -> list[Any]:
        draws = [torch.get_rng_state(), None if cuda is None else torch.cuda.get_rng_state(cuda)]
        return [*draws, [buffer.clone() for buffer in buffers]]

    def back_to(state: list[Any]) -> None:
        torch.set_rng_state(state[0])
        if cuda is not None:
            torch.cuda.set_rng_state(state[1], cuda)
        for buffer, value in zip(buffers, state[2], strict=True):
            buffer.detach().copy_(value)

    first: list[Any] = []
    before = state()

    def again() -> None:
        if not first:
            first.extend(state())
        back_to(before)

    yield again
    back_to(first)


def _compare(eager: Sequence[Tensor], replayed: Sequence[Tensor]) -> None:
    """Raise where a replay is not the eager step, but for rounding."""
    for number, (one, other) in enumerate(zip(eager, replayed, strict=True)):
        one, other = one.detach(), other.detach()
        size = max(float(one.abs().max()), 1e-30)
        tolerance = _TOLERANCE.get(other.dtype, 1e-2)
        if not float((one.to(other) - other).abs().max()) <= tolerance * size:
            what = "a gradient" if number else "the loss"
            raise ValueError(f"replay and eager step differ in {what}")
