"""One recorded step: a graph of operations from parameters and a batch to loss and gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tag, Tensor, nn
from torch._ops import OpOverload
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.dialect.common.cse_pass import CSEPass

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.programs import OneModule, Program
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.training.objective import Objective

# Views, which may show all of their source and so be left out.
_VIEWS = {
    torch.ops.aten.alias.default,
    torch.ops.aten.detach.default,
    torch.ops.aten.expand.default,
    torch.ops.aten.slice.Tensor,
    torch.ops.aten.view.default,
}
_TRANSPOSED = torch.ops.aten.t.default
# These are replaced by PyTorch's own functions, which take half the time to call: on small data
# most of a step.
_QUICKER = {
    "add", "addcmul", "addmm", "cat", "div", "exp", "index_add", "index_select", "log", "mm", "mul",
    "neg", "pow", "rsub", "stack", "sub", "sum", "t", "tanh", "unsqueeze",
}  # fmt: skip


class Step(NamedTuple):
    """What a recorded step gives."""

    loss: Tensor
    gradients: list[Tensor]
    norm: Tensor
    terms: ElboTerms
    penalised: dict[str, Tensor]


@dataclass
class Graph:
    """One recorded step."""

    parameters: dict[str, Tensor]  # what it differentiates, by their names in Pyro's store
    _call: Callable[..., Any]
    _template: list[Any]

    @classmethod
    def record(
        cls,
        objective: Objective,
        model: Program,
        guide: Program,
        batch: GroupedBatch,
        parameters: dict[str, Tensor],
        *,
        compile: bool,
    ) -> Graph:
        """Record a step on a batch of this shape."""
        pair = _Running(model, guide)
        # Where the store's parameters stand in the modules; others are pyro.param's of functions.
        places: dict[int, list[str]] = {}
        for place, parameter in pair.named_parameters(remove_duplicate=False):
            places.setdefault(id(parameter), []).append(place)
        constraints = {name: pyro.get_param_store()._constraints[name] for name in parameters}
        kinds: list[Any] = []

        def step(*inputs: Tensor) -> list[Tensor]:
            values, (*tensors, steps) = inputs[: len(parameters)], inputs[len(parameters) :]
            leaves = [value.detach().requires_grad_() for value in values]
            named = dict(zip(parameters, leaves, strict=True))
            inside = {
                place: leaf
                for leaf, parameter in zip(leaves, parameters.values(), strict=True)
                for place in places.get(id(parameter), [])
            }
            own = batch.with_tensors(dict(zip(batch.tensors(), tensors, strict=True)))
            state: Any = {"params": named, "constraints": constraints}
            with pyro.get_param_store().scope(state):
                run = lambda: objective.differentiable_loss(model, guide, own, steps=steps)  # noqa: E731
                loss = torch.func.functional_call(pair, inside, (run,))
                gradients = torch.autograd.grad(loss, leaves)
            terms = objective.terms
            kinds[:] = [[*terms.kl], [*objective.penalised]]
            outputs = [terms.reconstruction, *terms.kl.values(), *objective.penalised.values()]
            norm = nn.utils.get_total_norm(gradients)
            return [loss.detach(), *gradients, norm, *(value.detach() for value in outputs)]

        inputs = _inputs(parameters, batch, objective.steps)
        # SVI is not to see the parameters of the recording.
        with poutine.block(), pyro.validation_enabled(False), torch.enable_grad():
            graph = make_fx(step)(*inputs)
        graph = _simplified(graph)
        if compile:
            return cls(parameters, torch.compile(graph, options={"fallback_random": True}), kinds)
        return cls(parameters, _quickened(graph), kinds)

    @torch.no_grad()
    def run(self, batch: GroupedBatch, steps: int) -> Step:
        """A step on another batch of the same shape."""
        loss, *rest = self._call(*_inputs(self.parameters, batch, steps))
        gradients, rest = rest[: len(self.parameters)], rest[len(self.parameters) :]
        norm, reconstruction, *rest = rest
        sites, penalties = self._template
        kl = dict(zip(sites, rest, strict=False))
        penalised = dict(zip(penalties, rest[len(sites) :], strict=True))
        terms = ElboTerms(reconstruction, kl, len(batch), batch.num_groups)
        return Step(loss, gradients, norm, terms, penalised)


def _simplified(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The same graph without what changes nothing, and nothing computed twice."""
    for node in module.graph.nodes:
        source: Any = node.args[0] if node.args else None
        if node.target in _VIEWS and _same(node, source):
            node.replace_all_uses_with(source)
        elif node.target is _TRANSPOSED and source.target is _TRANSPOSED:
            node.replace_all_uses_with(source.args[0])
    module.graph.eliminate_dead_code()
    # What draws, or writes into its input, is done as often as it stands there.
    targets = [node.target for node in module.graph.nodes if isinstance(node.target, OpOverload)]
    own = {
        t.overloadpacket
        for t in targets
        if t._schema.is_mutable or Tag.nondeterministic_seeded in t.tags
    }
    shared = CSEPass(banned_ops=own | {torch.ops.aten.empty})(module)
    graph: torch.fx.GraphModule = module if shared is None else shared.graph_module
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _quickened(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The same graph, run by functions that are quicker to call."""
    for node in module.graph.nodes:
        if isinstance(node.target, OpOverload):
            namespace, _, name = node.target._schema.name.partition("::")
            if namespace == "aten" and name in _QUICKER:
                node.target = getattr(torch, name)
    module.recompile()
    return module


def _same(node: torch.fx.Node, source: torch.fx.Node) -> bool:
    """Whether a view shows its source as it is."""
    one, other = node.meta.get("tensor_meta"), source.meta.get("tensor_meta")
    return (
        one is not None
        and other is not None
        and (one.shape, one.stride, one.dtype) == (other.shape, other.stride, other.dtype)
    )


class _Running(OneModule):
    """Model and guide, whose parameters can be replaced while something runs."""

    def forward(self, run: Callable[[], Tensor]) -> Tensor:
        return run()


def _inputs(parameters: dict[str, Tensor], batch: GroupedBatch, steps: int) -> list[Tensor]:
    counted = torch.tensor(float(steps), device=batch.x.device)
    return [*parameters.values(), *batch.tensors().values(), counted]
