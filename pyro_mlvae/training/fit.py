"""``fit``: train a model and a guide with ``pyro.infer.SVI`` on the paper's objective."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, SVI, Trace_ELBO
from pyro.optim import Adam, PyroOptim  # type: ignore[attr-defined]
from torch import nn

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.data.samplers import Sampler, mixed_seed
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.likelihoods import Likelihood
from pyro_mlvae.training.history import EpochRecord, History
from pyro_mlvae.training.terms import ElboTerms, TermRecorder, elbo_terms

Program = Callable[[GroupedBatch], Any]


class DivergedError(InputError):
    """Raised when training meets a NaN or an infinity, before it reaches the weights.

    Attributes:
        history: the epochs that were completed.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def fit(
    model: Program,
    guide: Program,
    sampler: Sampler,
    *,
    epochs: int,
    estimator: ELBO | None = None,
    optimizer: PyroOptim | None = None,
    clip_norm: float | None = None,
    validation: GroupedBatch | None = None,
    validate_every: int = 1,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    callback: Callable[[EpochRecord], None] | None = None,
) -> History:
    r"""Maximise the mean over the groups of each minibatch of the group's ELBO.

    .. math:: \frac{1}{|\text{groups}|} \sum_G \Big( \sum_{i \in G} E_q \log p(x_i \mid C_G, S_i)
        - \sum_{i \in G} KL(q(S_i) \,\|\, p(S)) - KL(q(C_G) \,\|\, p(C)) \Big)

    The scale, one over the minibatch's number of groups, is put on model and guide alike, here and
    nowhere else: a model never reads it.

    Args:
        model: a Pyro model that takes a :class:`~pyro_mlvae.GroupedBatch`.
        guide: its guide, which takes the same.
        sampler: yields the minibatches of an epoch, such as :class:`~pyro_mlvae.GroupSampler`.
        epochs: how many epochs.
        estimator: any ELBO of Pyro's; ``Trace_ELBO()`` by default.
        optimizer: any PyroOptim; Adam with learning rate 1e-3 by default.
        clip_norm: rescale the gradient of all the parameters together to at most this norm.
        validation: a batch on which the ELBO is measured, with draws that are the same every time.
        validate_every: measure it every so many epochs, and after the last.
        device: where to train; modules stay there. By default, where they are.
        dtype: floating-point type to train in. By default, the modules'.
        seed: of the draws from the guide. The caller's random state is left as it was.
        callback: called with the record of each epoch that ends.

    Returns:
        The history. Ctrl-C ends training and returns the history so far, with ``interrupted`` set.

    Raises:
        InputError: an argument is out of range; x is outside the likelihood's support; or a
            parameter takes part in the loss but would never be trained, because model and guide
            give it the same name.
        DivergedError: the loss or its gradient is NaN or infinite.

    Pyro's parameter store is global: ``fit`` works in a scope of its own and leaves the caller's
    store alone, but two threads must not fit at the same time.

    >>> from pyro_mlvae import *
    >>> data = load_dataset("digits")
    >>> model = MLVAE(MLPDecoder(data.event_shape, 8, 8), NormalLikelihood(), 8, 8)
    >>> guide = ProductOfNormals(MLPEncoder(data.event_shape, 8, 8))
    >>> history = fit(model, guide, GroupSampler(data, 10, 20), epochs=3)
    >>> len(history.epochs)
    3
    """
    require_positive(epochs=epochs, validate_every=validate_every)
    if clip_norm is not None and not clip_norm > 0.0:
        raise InputError(f"clip_norm must be positive, or None for no clipping, got {clip_norm}")
    for module in _modules(model, guide):
        module.to(device=device, dtype=dtype)
    if validation is not None:
        validation = validation.to(device, dtype)
    step = _Step(model, guide, estimator or Trace_ELBO(max_plate_nesting=1), clip_norm)
    optimizer = optimizer or Adam({"lr": 1e-3})
    svi = SVI(step.model, step.guide, optimizer, loss=step.loss, loss_and_grads=step.loss_and_grads)
    history = History()
    target = torch.device(device) if device is not None else _device_of(model, guide)
    with (
        torch.random.fork_rng([target] if target.type == "cuda" else []),
        pyro.get_param_store().scope(),
    ):
        try:
            for epoch in range(1, epochs + 1):
                # Seeded epoch by epoch, so that the draws depend on no earlier epoch's length.
                torch.manual_seed(mixed_seed(seed, epoch))
                started = time.perf_counter()
                total, objective, groups = ElboTerms(), 0.0, 0
                for number, batch in enumerate(sampler.epoch(epoch - 1), start=1):
                    batch = batch.to(device, dtype)
                    step.where = f"epoch {epoch}, step {number}"
                    try:
                        loss = svi.step(batch)
                    except _NotFiniteError as error:
                        raise DivergedError(str(error), history) from None
                    objective -= loss * batch.num_groups
                    groups += batch.num_groups
                    total = total + step.terms
                measured = None
                if validation is not None and (epoch % validate_every == 0 or epoch == epochs):
                    measured = elbo_terms(model, guide, validation)
                record = EpochRecord(
                    epoch, time.perf_counter() - started, objective / groups, total.floats(), measured
                )
                history.epochs.append(record)
                if callback is not None:
                    callback(record)
        except KeyboardInterrupt:
            history.interrupted = True
    return history


class _NotFiniteError(Exception):
    """A NaN or an infinity in the loss or its gradient; says where, which term, and what to try."""


class _Step:
    """One step's loss and gradient: the scale, the terms, and the checks before any update."""

    def __init__(self, model: Program, guide: Program, estimator: ELBO, clip_norm: float | None) -> None:
        self._recorder = TermRecorder()
        self.model = self._recorder.watch("model", _mean_over_groups(model))
        self.guide = self._recorder.watch("guide", _mean_over_groups(guide))
        self.loss = estimator.loss  # type: ignore[attr-defined]
        self.terms = ElboTerms()
        self.where = ""
        self._modules = {"model": model, "guide": guide}
        self._loss_and_grads = estimator.loss_and_grads  # type: ignore[attr-defined]
        self._clip_norm = clip_norm
        self._verified = False

    def loss_and_grads(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        """The estimator's loss; leaves on the parameters gradients that are finite, and clipped."""
        if not self._verified:
            self._check_support(batch)
        loss = self._loss_and_grads(model, guide, batch)
        self.terms = self._recorder.collect(batch)
        if not self._verified:
            self._check_store()
            self._verified = True
        trained = [p for _, p in pyro.get_param_store().named_parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in trained])  # type: ignore[misc]
        if not (torch.isfinite(norm) and math.isfinite(loss)):
            raise _NotFiniteError(self._what_is_not_finite(loss))
        if self._clip_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, self._clip_norm, norm)
        return loss

    def _check_support(self, batch: GroupedBatch) -> None:
        likelihood = getattr(self._modules["model"], "likelihood", None)
        if isinstance(likelihood, Likelihood):
            likelihood.check(batch.x)

    def _check_store(self) -> None:
        """Every parameter that has a gradient must be in the store as itself, or it never moves."""
        stored = {id(p) for _, p in pyro.get_param_store().named_parameters()}
        for kind, module in self._modules.items():
            if not isinstance(module, nn.Module):
                continue
            for name, parameter in module.named_parameters():
                if parameter.grad is not None and id(parameter) not in stored:
                    raise InputError(
                        f"the {kind}'s parameter {name!r} would never be trained: model and guide "
                        f"register different parameters under that name; rename the attribute "
                        f"{name.split('.')[0]!r} in one of them, or name the module with "
                        f"PyroModule.__init__(name={kind!r})"
                    )

    def _what_is_not_finite(self, loss: float) -> str:
        terms = self.terms.per_observation()
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        named = [name for name in bad if name != "elbo"] or ["the gradient"]
        return (
            f"training stopped at {self.where}, before the update: {' and '.join(named)} is not "
            f"finite (loss {loss:.4g}); try a smaller learning rate, clip_norm=10, or rescale x"
        )


def _mean_over_groups(program: Program) -> Program:
    def run(batch: GroupedBatch) -> Any:
        with poutine.scale(scale=1.0 / batch.num_groups):
            return program(batch)

    return run


def _modules(*programs: Program) -> list[nn.Module]:
    return [program for program in programs if isinstance(program, nn.Module)]


def _device_of(*programs: Program) -> torch.device:
    for module in _modules(*programs):
        for parameter in module.parameters():
            return parameter.device
    return torch.device("cpu")
