"""The terms of the ELBO: read off the traces that an estimator makes, or measured on their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.enum import get_importance_trace
from pyro.poutine.trace_struct import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators.group_weights import PARTICLES
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import seeded
from pyro_mlvae.estimators.terms import ElboTerms


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
    with seeded(model, guide, device=batch.x.device, seed=seed):
        # One at a time: a trace of a large batch is large.
        pairs = (
            get_importance_trace("flat", math.inf, model, guide, (batch,), {})
            for _ in range(num_particles)
        )
        return _mean_terms(pairs, num_particles, batch, _divergence).floats()


def drawn_terms(pairs: Sequence[tuple[Trace, Trace]], batch: GroupedBatch) -> ElboTerms:
    """The terms of pairs of a model's and a guide's trace, with divergences of the draws."""
    return _mean_terms(pairs, len(pairs), batch, _drawn_divergence)


def _mean_terms(
    pairs: Iterable[tuple[Trace, Trace]],
    count: int,
    batch: GroupedBatch,
    divergence: Callable[[Any, Any], Tensor],
) -> ElboTerms:
    """The terms of ``count`` pairs of a model's and a guide's trace, averaged over the pairs."""
    found: dict[str | None, Any] = {}
    for model_trace, guide_trace in pairs:
        for name, site in sample_sites(model_trace):
            key = None if site["is_observed"] else name
            if key is None:
                term = _log_prob(site)
            elif name in guide_trace.nodes:
                term = divergence(guide_trace.nodes[name], site)
            else:
                continue
            found[key] = found[key] + term if key in found else term
    if count > 1:
        found = {key: term / count for key, term in found.items()}
    reconstruction = found.pop(None, 0.0)
    kl = {name: term for name, term in found.items() if name is not None}
    return ElboTerms(reconstruction, kl, len(batch), batch.num_groups)


def _log_prob(site: Any) -> Tensor:
    """The log probability of a site, as the estimator left it there, masked but not scaled."""
    if (
        "log_prob_sum" in site
        and isinstance(site["scale"], float | int)
        and site["scale"] == 1.0
        and _particles(site) == 1
    ):
        total: Tensor = site["log_prob_sum"]
        return total.detach()
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
