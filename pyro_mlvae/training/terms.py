"""The terms of the ELBO: read off the traces that an estimator makes, or measured on their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.enum import get_importance_trace
from pyro.poutine.block_messenger import BlockMessenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from pyro.poutine.trace_struct import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators.group_weights import PARTICLES
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.penalties import Latents


@torch.no_grad()
def elbo_terms(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    batch: GroupedBatch,
    *,
    num_particles: int = 1,
    seed: int = 0,
) -> ElboTerms:
    """Measure the ELBO's terms on ``batch``.

    Divergences are in closed form where PyTorch has one, and averaged over ``num_particles`` draws
    from the guide where it has not, as the reconstruction is. The draws are fixed by ``seed``, and
    the caller's random state and parameter store are left as they were.

    Returns:
        Sums over the batch, in nats.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> terms = elbo_terms(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch)
    >>> terms.observations, terms.groups, sorted(terms.kl)
    (5, 2, ['content', 'style'])
    """
    require_positive(num_particles=num_particles)
    device = batch.x.device
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),
    ):
        torch.manual_seed(seed)
        # One at a time: a trace of a large batch is large.
        pairs = (
            get_importance_trace("flat", math.inf, model, guide, (batch,), {}) for _ in range(num_particles)
        )
        return _mean_terms(pairs, num_particles, batch, _divergence).floats()


class TermRecorder:
    """Reads the terms of a step off the very traces that its estimator makes.

    Whatever the estimator, it runs guide and model under Pyro's tracing, and leaves in the traces'
    sites the log probabilities that it has computed. :meth:`watch` wraps a program so that the
    trace under which it runs is remembered, and :meth:`collect` reads the sites: no second pass, no
    log probability computed twice. The divergences are those of the draws that were made.
    """

    def __init__(self) -> None:
        self.forget()

    def watch(self, kind: str, program: Callable[..., Any]) -> Callable[..., Any]:
        """``program``, remembering the traces it runs under; ``kind`` is "model" or "guide"."""

        def run(*args: Any, **kwargs: Any) -> Any:
            result = program(*args, **kwargs)
            trace = None
            for handler in reversed(_PYRO_STACK):
                if isinstance(handler, BlockMessenger):
                    # A trial run, by which Pyro counts plates.
                    return result
                if isinstance(handler, TraceMessenger):
                    if handler.param_only:
                        # SVI's own, outside of which is nothing of this run.
                        break
                    trace = handler.trace if trace is None else trace
            if trace is not None:
                self._runs[kind].append((trace, args[0] if args else None))
            return result

        return run

    def collect(self, batch: GroupedBatch) -> ElboTerms:
        """The terms of the passes since the last call, averaged over them."""
        models, guides = ([trace for trace, _ in self._runs[kind]] for kind in ("model", "guide"))
        if len(guides) > len(models):
            # An estimator that runs the guide once to draw, and once more for its densities, reads those
            # of the second run.
            guides = [trace for trace in guides if _has_densities(trace)]
        pairs = list(zip(models, guides, strict=True))
        self.forget()
        with torch.no_grad():
            return _mean_terms(pairs, len(pairs), batch, _drawn_divergence)

    def latents(self, batch: GroupedBatch, step: int, encode: Callable[[], Any] | None) -> list[Latents]:
        """What penalties see of each pass on ``batch`` itself since the last call."""
        models, guides = (
            [trace for trace, x in self._runs[kind] if x is batch] for kind in ("model", "guide")
        )
        # An estimator that runs the guide again, for its densities, holds its parameters constant then:
        # the path to them is that of the first run.
        drawn = [trace for trace in guides if not _has_densities(trace)] or guides
        pairs = zip(drawn, models or repeat(None, len(drawn)), strict=True)
        return [Latents(batch, step, guide, model, encode) for guide, model in pairs]

    def forget(self) -> None:
        """Drop what is remembered of the passes since the last call."""
        # With each trace, the batch on which it was run.
        self._runs: dict[str, list[tuple[Trace, Any]]] = {"model": [], "guide": []}


def _has_densities(trace: Trace) -> bool:
    return any("log_prob" in site for _, site in sample_sites(trace))


def _mean_terms(
    pairs: Iterable[tuple[Trace, Trace]],
    count: int,
    batch: GroupedBatch,
    divergence: Callable[[Any, Any], Tensor],
) -> ElboTerms:
    """The terms of ``count`` pairs of a model's and a guide's trace, averaged over the pairs."""
    reconstruction: Any = 0.0
    kl: dict[str, Any] = {}
    for model_trace, guide_trace in pairs:
        for name, site in sample_sites(model_trace):
            if site["is_observed"]:
                reconstruction = reconstruction + _log_prob(site)
            elif name in guide_trace.nodes:
                kl[name] = kl.get(name, 0.0) + divergence(guide_trace.nodes[name], site)
    if count > 1:
        reconstruction, kl = reconstruction / count, {name: value / count for name, value in kl.items()}
    return ElboTerms(reconstruction, kl, len(batch), batch.num_groups)


def _log_prob(site: Any) -> Tensor:
    """The log probability of a site, as the estimator left it there, masked but not scaled."""
    if "unscaled_log_prob" not in site:
        site["unscaled_log_prob"] = site["fn"].log_prob(site["value"])
    return _masked_sum(site["unscaled_log_prob"], site)


def _drawn_divergence(guide_site: Any, model_site: Any) -> Tensor:
    return _log_prob(guide_site) - _log_prob(model_site)


def _divergence(guide_site: Any, model_site: Any) -> Tensor:
    try:
        divergence = kl_divergence(guide_site["fn"], model_site["fn"])
    except NotImplementedError:
        return _drawn_divergence(guide_site, model_site)
    return _masked_sum(divergence, guide_site)


def _masked_sum(values: Tensor, site: Any) -> Tensor:
    masked = values if site["mask"] is None else scale_and_mask(values, 1.0, site["mask"])
    total = masked.sum(dtype=torch.float64)
    particles = _particles(site)
    return total if particles == 1 else total / particles


def _particles(site: Any) -> int:
    """How many vectorised particles the site holds: Pyro's estimators put them in a plate."""
    for frame in site["cond_indep_stack"]:
        if frame.name == PARTICLES:
            return int(frame.size)
    return 1
