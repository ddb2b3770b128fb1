r"""The evidence from below and from above, on data that the model itself has drawn.

.. math:: E\Big[\log \frac{1}{K} \sum_k w(z_k)\Big] \le \log p(X) \le
    E\Big[\log \frac{1}{K} \Big(w(z^*) + \sum_{k=2}^{K} w(z_k)\Big)\Big], \qquad
    z_k \sim q(z \mid X), \quad z^* \sim p(z \mid X)

Latents and observations that are drawn together, :math:`z^*, X \sim p(z, X)`, make the latents a
draw of the posterior of the observations, whatever the model. K = 1 is the ELBO and the evidence
upper bound (EUBO), :math:`\log p(X) + KL(p \,\|\, q)`. What is between the two is all that the
evidence of such data can be: a narrow sandwich says that both bounds are tight, and so is the
reference.

References: Grosse, Ghahramani, Adams (2015), arXiv 1511.02543; Sobolev, Vetrov (2019), arXiv
1902.09600.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor, nn

from pyro_mlvae.comparison.weights import draw_log_weights
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError, require_positive
from pyro_mlvae.estimators.group_weights import group_log_weights
from pyro_mlvae.estimators.pathwise import pin, sample_sites
from pyro_mlvae.estimators.programs import in_mode, seeded
from pyro_mlvae.evaluation import simulation

PARTICLES = (1, 10, 100)


def sandwich(
    model: nn.Module,
    guide: nn.Module,
    batch: GroupedBatch,
    particles: Sequence[int] = PARTICLES,
    *,
    repeats: int = 10,
    log_evidence: Callable[[GroupedBatch], Tensor] | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Bounds on the mean log evidence of data that the model draws in the groups of ``batch``.

    Args:
        model: the model, which draws the data.
        guide: its guide.
        batch: what groups there are; its observations do not matter, but for their shape.
        particles: numbers of weights, K.
        repeats: how many times data are drawn.
        log_evidence: of each unit of such data, where it is known.
        seed: of all draws.

    Returns:
        For each K: ``num_particles``, ``lower`` and ``upper`` in nats per observation,
        ``difference`` between the two, each with its standard error over data sets and draws
        (``lower_error`` and so on), and ``log_evidence``, None where it is not known.

    Raises:
        InputError: a number is not positive, there are fewer than two repeats, or x has no draws.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> (row,) = sandwich(*pair, batch, [10], repeats=2)  # of the exact posterior
    >>> abs(row["difference"]) < 1e-8
    True
    """
    for count in particles:
        require_positive(particles=count)
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 2:
        raise InputError(
            f"repeats must be a whole number of at least 2, got {repeats!r}: an error needs two"
        )
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in particles}
    known: list[float] = []
    with in_mode(model, guide, training=False):
        for number in range(repeats):
            own_seed = mixed_seed(seed, number)
            drawn, latents = simulate(model, batch, seed=own_seed)
            true = log_weight(model, guide, drawn, latents)
            if log_evidence is not None:
                known.append(float(log_evidence(drawn).sum()) / len(batch))
            for count in particles:
                pair = bounds(model, guide, drawn, true, count, seed=mixed_seed(own_seed, count))
                lower, upper = (float(bound.sum()) / len(batch) for bound in pair)
                found[count].append((lower, upper))
    evidence = sum(known) / repeats if known else None
    return [
        {**_row(count, torch.tensor(own, dtype=torch.float64)), "log_evidence": evidence}
        for count, own in found.items()
    ]


def bounds(
    model: nn.Module,
    guide: nn.Module,
    drawn: GroupedBatch,
    true: Float[Tensor, " units"],
    count: int,
    *,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """A lower and an upper bound on the log evidence of each unit, in nats.

    Args:
        model, guide: the pair.
        drawn: data of which a posterior draw is known.
        true: the log weight of that draw, :func:`log_weight`.
        count: how many weights are averaged in each bound.
        seed: of the draws from the guide.
    """
    log_weights = draw_log_weights(model, guide, drawn, count, seed=mixed_seed(seed, 0))
    with_true = true.unsqueeze(0)
    if count > 1:
        # Draws of their own, so that the errors of the two bounds are independent.
        others = draw_log_weights(model, guide, drawn, count - 1, seed=mixed_seed(seed, 1))
        with_true = torch.cat([with_true, others])
    lower, upper = (weights.logsumexp(0) - math.log(count) for weights in (log_weights, with_true))
    return lower, upper


def simulate(
    model: nn.Module, batch: GroupedBatch, *, seed: int = 0
) -> tuple[GroupedBatch, dict[str, Tensor]]:
    """Observations that the model draws in the groups of ``batch``, and their latents.

    The random state and the parameter store of the caller are left as they were.
    """
    with seeded(model, device=batch.x.device, seed=seed):
        trace, drawn = simulation.simulate(model, batch)
    latents: dict[str, Any] = {
        name: site["value"] for name, site in sample_sites(trace) if name != "x"
    }
    return drawn, latents


@torch.no_grad()
def log_weight(
    model: nn.Module, guide: nn.Module, batch: GroupedBatch, latents: dict[str, Tensor]
) -> Float[Tensor, " units"]:
    """The log importance weight of each unit at the given latents, in nats, in float64."""
    with pyro.get_param_store().scope():
        traces = [
            poutine.trace(pin(program, latents)).get_trace(batch) for program in (model, guide)
        ]
    for trace in traces:
        trace.compute_log_prob()
    return group_log_weights(traces[0], traces[1], batch).double()


def _row(count: int, pairs: Tensor) -> dict[str, Any]:
    """Means and standard errors of ``[repeats, 2]``: lower and upper bounds of the same data."""
    columns = {"lower": pairs[:, 0], "upper": pairs[:, 1], "difference": pairs[:, 1] - pairs[:, 0]}
    row: dict[str, Any] = {"num_particles": count}
    for name, values in columns.items():
        row[name] = float(values.mean())
        row[f"{name}_error"] = float(values.std()) / math.sqrt(len(values))
    return row
