r"""Pareto k-hat: whether a group's importance weights have too heavy a tail.

The largest of the weights :math:`w_G = p(X_G, C_G, S_G) / q(C_G, S_G \mid X_G)` are fitted by a
generalised Pareto distribution, whose shape k says which of their moments exist: those of order
below :math:`1 / k`. Below 0.5 their variance is finite, and importance-weighted bounds and
expectations settle at the usual rate. Above 0.7 they do not settle with any number of draws that
one could pay for: the guide misses part of the posterior, and a bound that is made of these weights
says little.

References: Vehtari, Simpson, Gelman, Yao, Gabry (2015), arXiv 1507.02646; as a diagnostic of
variational inference Yao, Vehtari, Simpson, Gelman (2018), arXiv 1802.02538. The fit is Pyro's,
after Zhang, Stephens (2009).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Float64
from pyro.ops.stats import fit_generalized_pareto
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.estimators.group_weights import drawn_log_weights
from pyro_mlvae.estimators.programs import Program, seeded

# Above it, importance sampling cannot be relied on: Vehtari et al., section 3.2.
THRESHOLD = 0.7
# A fifth of them is the tail, and a fit needs ten.
LEAST_DRAWS = 50
# A tail of excesses below this is one weight that outweighs all others; their logarithms stay
# finite.
_SMALLEST = 1e-300
# Log weights that differ by less than so many roundings are equal.
_ROUNDINGS = 64


def run_k_hat(
    model: Program, guide: Program, batch: GroupedBatch, *, draws: int = 1000, seed: int = 0
) -> Float64[Tensor, " units"]:
    """The k-hat of the importance weights of each group.

    Args:
        model: the model.
        guide: its guide.
        batch: observed groups.
        draws: weights of each group.
        seed: of the draws.

    Returns:
        One value a group, or one a super-group where there are latents of those; see
        :func:`pareto_k_hat`.

    Raises:
        InputError: a site stands in none of the plates, there are fewer than 50 draws, or a
            weight is not a number.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> run_k_hat(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved), batch, draws=50)
    tensor([0., 0.], dtype=torch.float64)
    """
    require_positive(draws=draws)
    require_seed(seed)
    with seeded(model, guide, device=batch.x.device, seed=seed):
        weights = torch.stack([drawn_log_weights(model, guide, batch) for _ in range(draws)])
    return pareto_k_hat(weights)


def pareto_k_hat(log_weights: Float[Tensor, "draws units"]) -> Float64[Tensor, " units"]:
    """The shape k of a generalised Pareto distribution fitted to each unit's largest weights.

    The tail is the min(S/5, 3 sqrt(S)) largest of S weights. Weights that are all equal, as those
    of the exact posterior are, have no tail to fit: their k-hat is set to 0, below which all
    moments exist.

    Args:
        log_weights: in nats, S of each unit.

    Returns:
        k-hat by unit, in float64 on the CPU.

    Raises:
        InputError: there are fewer than 50 draws, or weights of a unit are NaN, infinite, or all
            zero.

    >>> exponential = torch.rand(4000, 1, generator=torch.Generator().manual_seed(0)).log().neg()
    >>> # exp of an exponential of rate 2 is a Pareto variable of shape 1/2.
    >>> round(pareto_k_hat(exponential / 2).item(), 1)
    0.5
    """
    draws = len(log_weights)
    if draws < LEAST_DRAWS:
        raise InputError(
            f"draws must be at least {LEAST_DRAWS} for a tail to be fitted, got {draws}"
        )
    largest = log_weights.max(0).values
    # NaN is the largest of whatever it is among.
    if not largest.isfinite().all():
        bad = int((~largest.isfinite()).nonzero()[0])
        raise InputError(
            f"log weights must be numbers below infinity, and not all -infinity, but the largest "
            f"of group {bad} is {largest[bad].item()}: look for what makes log probabilities so"
        )
    tolerance = _ROUNDINGS * torch.finfo(log_weights.dtype).eps * largest.abs().clamp_min(1.0)
    found = [
        _of_unit(own, equal)
        for own, equal in zip(log_weights.double().cpu().unbind(1), tolerance.tolist(), strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64)


def check_k_hat(k: Float[Tensor, " units"]) -> dict[str, Any]:
    """How many groups have weights that cannot be relied on.

    Args:
        k: what :func:`run_k_hat` returns.

    Returns:
        ``{"groups": number, "threshold": 0.7, "share_above": share, "median": k, "max": k, "k":
        [...]}``, the last in ascending order.

    Raises:
        InputError: there is no group.

    >>> check_k_hat(torch.tensor([0.9, 0.1, 0.3, 0.2]))["share_above"]
    0.25
    """
    if not len(k):
        raise InputError("k must be that of at least one group, got none: pass groups to run_k_hat")
    return {
        "groups": len(k),
        "threshold": THRESHOLD,
        "share_above": float((k > THRESHOLD).double().mean()),
        "median": float(k.quantile(0.5)),
        "max": float(k.max()),
        "k": k.sort().values.tolist(),
    }


def _of_unit(log_weights: Tensor, tolerance: float) -> float:
    draws = len(log_weights)
    tail = math.ceil(min(draws / 5, 3.0 * math.sqrt(draws)))
    *_, cutoff = top = log_weights.topk(tail + 1).values
    if float(top[0] - cutoff) <= tolerance:
        return 0.0
    excess = (top[:-1] - top[0]).exp() - (cutoff - top[0]).exp()
    k, _ = fit_generalized_pareto(excess.clamp_min(_SMALLEST))
    return float(k)
