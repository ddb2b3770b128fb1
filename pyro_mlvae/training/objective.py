r"""The objective of training, as a ``pyro.infer.ELBO``: an estimator, its scale, and penalties.

.. math:: \frac{1}{|\text{groups}|} \Big( \sum_G ELBO(G) - \sum_j \text{penalty}_j \Big)

The mean over the groups of a minibatch is the paper's objective. The scale stands here and nowhere
else: a model never reads it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro.infer
import torch
from pyro import poutine
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import Program, module_of
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.models import MLVAE
from pyro_mlvae.penalties import Latents, Penalty
from pyro_mlvae.training.terms import drawn_terms

# Pyro's estimators that are no objective here, and what to take instead.
_REFUSED = {
    "JitTrace_ELBO": "it is recorded by torch.jit: use Trace_ELBO, which fit records",
    "JitTraceMeanField_ELBO": "it is recorded by torch.jit: use TraceMeanField_ELBO, which fit "
    "records",
    "JitTraceGraph_ELBO": "it is recorded by torch.jit: use TraceGraph_ELBO",
    "JitTraceEnum_ELBO": "no site of ours is enumerated: marginalise discrete latents, and use "
    "Trace_ELBO",
    "TraceEnum_ELBO": "no site of ours is enumerated: marginalise discrete latents, and use "
    "Trace_ELBO",
    "TraceTMC_ELBO": "its draws are enumerated, which shifts the plates of groups: use GroupIWAE",
    "ReweightedWakeSleep": "its loss is a pair of losses: use it with SVI itself, or GroupDReG "
    "here",
    "TraceTailAdaptive_ELBO": "its loss is infinite by design: use GroupRenyiELBO",
}


class Objective(ELBO):
    """Minus the mean over groups of their ELBO, plus penalties: what SVI minimises.

    Args:
        estimator: of the ELBO: Pyro's ``Trace_ELBO`` (the default), ``TraceMeanField_ELBO``,
            ``TraceGraph_ELBO`` or ``RenyiELBO``, or one of :mod:`pyro_mlvae.estimators`.
        penalties: what is taken off the objective, under the same scale.

    Attributes:
        terms: the terms of the ELBO of the last pass, summed over its batch, in nats.
        steps: how many passes with a gradient were made, for penalties that come in slowly.

    Raises:
        InputError: the estimator is none that has terms by group; penalties are no list of
            :class:`~pyro_mlvae.penalties.Penalty`, or need an estimator with a
            ``differentiable_loss``; and, when it is used, a site is enumerated.

    >>> from pyro.infer import SVI
    >>> from pyro.optim import Adam
    >>> from pyro_mlvae import GroupSampler, MLPDecoder, MLPEncoder, MLVAE, NormalLikelihood
    >>> from pyro_mlvae import ProductOfNormals, load_dataset
    >>> data = load_dataset("digits")
    >>> model = MLVAE(MLPDecoder(data.event_shape, 8, 8), NormalLikelihood(), 8, 8)
    >>> guide = ProductOfNormals(MLPEncoder(data.event_shape, 8, 8))
    >>> svi = SVI(model, guide, Adam({"lr": 1e-3}), loss=Objective())
    >>> losses = [svi.step(batch) for batch in GroupSampler(data, 10, 20).epoch(0)]
    >>> len(losses)
    1
    """

    def __init__(self, estimator: ELBO | None = None, *, penalties: Sequence[Penalty] = ()) -> None:
        estimator = Trace_ELBO() if estimator is None else estimator
        _require_estimator(estimator, penalties)
        super().__init__(num_particles=estimator.num_particles)
        self.penalties = tuple(penalties)
        self.terms = ElboTerms()
        self.penalised: dict[str, Any] = {}
        self.steps = 0
        self.norm = None  # as what is wrapped around may have it
        # A copy, whose traces are seen here as well: terms and penalties need no pass of their own.
        self.estimator: Any = copy.copy(estimator)
        self._traced: Callable[..., tuple[Trace, Trace]] = self.estimator._get_trace
        vars(self.estimator)["_get_trace"] = self._watched
        self._passes: list[tuple[Trace, Trace]] = []

    def _get_trace(self, *args: Any) -> tuple[Trace, Trace]:
        return self.estimator._get_trace(*args)

    def loss(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        """The objective without a gradient."""
        with self._reading(batch):
            value: float = self.estimator.loss(model, guide, batch)
            with torch.no_grad():
                penalty = self._penalty(model, guide, batch) if self.penalties else 0.0
        return (value + float(penalty)) / batch.num_groups

    def loss_and_grads(
        self,
        model: Program,
        guide: Program,
        batch: GroupedBatch,
        weight: float = 1.0,
        *,
        synchronise: bool = True,
    ) -> float:
        """The objective; its gradient is added to the parameters'.

        Args:
            model, guide, batch, weight: as :meth:`differentiable_loss` takes them.
            synchronise: of several processes only; here nobody is waited for.
        """
        # SVI may be called where gradients are off, and would train nothing.
        with torch.inference_mode(False), torch.enable_grad():
            if hasattr(self.estimator, "differentiable_loss"):
                loss = self.differentiable_loss(model, guide, batch, weight)
                if loss.requires_grad:
                    loss.backward()
                value = float(loss.detach())
            else:
                with self._reading(batch), poutine.scale(scale=weight / batch.num_groups):
                    value = self.estimator.loss_and_grads(model, guide, batch)
        self.steps += 1
        return value

    def differentiable_loss(
        self,
        model: Program,
        guide: Program,
        batch: GroupedBatch,
        weight: float = 1.0,
        *,
        steps: Any = None,
    ) -> Tensor:
        """The objective, a scalar whose backward pass leaves its gradient.

        Args:
            model: the model.
            guide: its guide.
            batch: what both are run on.
            weight: what part the batch is of a larger one, by groups.
            steps: how many came before, a number or a scalar tensor; by default ``self.steps``.
        """
        with self._reading(batch):
            loss: Tensor = self.estimator.differentiable_loss(model, guide, batch)
            if self.penalties:
                steps = self.steps if steps is None else steps
                loss = loss + self._penalty(model, guide, batch, steps)
        # After the estimator, for which a scale on every site would be as many operations more.
        return loss * (weight / batch.num_groups)

    def penalty(self, model: Program, guide: Program, batch: GroupedBatch, *, steps: Any) -> float:
        """What is taken off the ELBO of a batch after so many steps, in nats, of new draws."""
        with torch.no_grad(), self._reading(batch):
            self.estimator.loss(model, guide, batch)
            return float(self._penalty(model, guide, batch, steps))

    @contextmanager
    def _reading(self, batch: GroupedBatch) -> Iterator[None]:
        """From the traces of what follows, the terms are read."""
        self._passes = []
        yield
        with torch.no_grad():
            self.terms = drawn_terms(self._passes, batch)
        self._passes = []  # which hold on to the graph of every operation

    def _watched(self, *args: Any) -> tuple[Trace, Trace]:
        pair = self._traced(*args)
        for trace in pair:
            for name, site in sample_sites(trace):
                if site["infer"].get("enumerate"):
                    raise InputError(
                        f"the site {name!r} is enumerated, which the terms of groups cannot "
                        f"follow: marginalise it, by a density of x that sums it out (a mixture), "
                        f"or draw it"
                    )
        self._passes.append(pair)
        return pair

    def _penalty(self, model: Program, guide: Program, batch: GroupedBatch, steps: Any = 0) -> Any:
        """The sum of all penalties, averaged over the passes."""
        modules = module_of(model), module_of(guide)
        total: Any = 0.0
        self.penalised = {}
        passes = [self._latents(modules, pair, batch, steps) for pair in self._passes]
        for penalty in self.penalties:
            value = torch.stack([penalty(latents) for latents in passes]).mean()
            # There may be two of a kind.
            name = f"the penalty {type(penalty).__name__}"
            self.penalised[name] = self.penalised.get(name, 0.0) + value.detach()
            total = total + value
        return total

    def _latents(
        self, modules: tuple[Any, Any], pair: tuple[Trace, Trace], batch: GroupedBatch, steps: Any
    ) -> Latents:
        (model, guide), (model_trace, guide_trace) = modules, pair
        # An estimator that freezes the guide's parameters in its densities keeps the run before.
        drawn: Trace = getattr(guide_trace, "drawn", guide_trace)
        encode = read = None
        if isinstance(guide, GroupedGuide):

            def encode() -> Any:
                # What the guide has returned, so that nothing is encoded twice.
                features = drawn.nodes["_RETURN"]["value"]
                features = guide.encode(batch.x) if features is None else features
                return guide.codes(features, batch.groups)

            def read(x: Tensor) -> Any:
                return guide.codes(guide.encode(x), batch.groups)

        decode = model.observation if isinstance(model, MLVAE) else None
        return Latents(batch, steps, drawn, model_trace, encode, decode, read)


def _require_estimator(estimator: Any, penalties: Any) -> None:
    name = type(estimator).__name__
    if not isinstance(estimator, ELBO):
        raise InputError(
            f"the estimator must be an ELBO of Pyro's or ours, got {name}: make_estimator has them"
        )
    for refused, remedy in _REFUSED.items():
        if type(estimator) is getattr(pyro.infer, refused, None):
            raise InputError(f"{name} is no objective here, as {remedy}")
    if not isinstance(penalties, Sequence) or not all(isinstance(p, Penalty) for p in penalties):
        raise InputError(
            f"penalties must be a list of Penalty, got {penalties!r}: put them into a list, and "
            f"derive your own from pyro_mlvae.penalties.Penalty"
        )
    if penalties and not hasattr(estimator, "differentiable_loss"):
        raise InputError(
            f"penalties need an estimator with a differentiable_loss, which {name} has not: use "
            f"another, such as 'trace'"
        )
