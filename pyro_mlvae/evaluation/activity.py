r"""Active units: which dimensions of content and style say anything of the observations.

A unit is active where its posterior's loc varies between observations, with a variance above 0.01:
Burda, Grosse, Salakhutdinov (2016), arXiv 1509.00519, section 5.2. Beside it stands each
dimension's divergence from the prior, which bounds from above what the dimension tells, in nats:

.. math:: KL(N(\mu, \sigma^2) \,\|\, N(0, 1)) = \tfrac12 (\mu^2 + \sigma^2 - 1) - \log \sigma
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import Normal
from torch.distributions import kl_divergence

from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.progress import LEAST_NATS, TrainingProgress


def activity_metrics(
    content: Normal, style: Normal, of_groups: Normal, *, threshold: float = 0.01
) -> dict[str, Any]:
    """The ``active_units`` part of metrics.json: active units, and divergences by dimension.

    Args:
        content: the content posterior of single held-out observations, batch shape ``[N,
            content]``.
        style: their style posterior, batch shape ``[N, style]``.
        of_groups: the content posterior of whole groups, batch shape ``[groups, content]``, for the
            divergence of content.
        threshold: the variance of loc over observations above which a unit is active.

    Returns:
        ``{"content": units, "style": units, "content_dim": dims, "style_dim": dims, "threshold":
        0.01}``, and by dimension ``kl_content`` and ``kl_style``, divergences from N(0, 1) in nats
        per group and in nats per observation; ``variance_content`` and ``variance_style``, of loc
        over observations; ``scale_content``, ``scale_content_of_groups`` and ``scale_style``, the
        mean scales.

    Raises:
        InputError: fewer than two observations, between which nothing can vary.

    >>> loc = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> normal = Normal(loc, torch.ones_like(loc))
    >>> activity = activity_metrics(normal, normal, normal)
    >>> activity["content"], activity["kl_content"]
    (1, [0.5, 0.0])
    """
    if len(content.loc) < 2:
        raise InputError(
            f"content must be that of at least two observations, got {len(content.loc)}: encode "
            f"more of the data"
        )
    return {
        "content": sum(variance > threshold for variance in _variance(content)),
        "style": sum(variance > threshold for variance in _variance(style)),
        "content_dim": content.loc.shape[1],
        "style_dim": style.loc.shape[1],
        "kl_content": _divergence(of_groups),
        "kl_style": _divergence(style),
        "threshold": threshold,
        "variance_content": _variance(content),
        "variance_style": _variance(style),
        "scale_content": content.scale.double().mean(0).tolist(),
        "scale_content_of_groups": of_groups.scale.double().mean(0).tolist(),
        "scale_style": style.scale.double().mean(0).tolist(),
    }


def collapse_warnings(
    activity: Mapping[str, Any], progress: TrainingProgress | None = None
) -> list[str]:
    """One sentence for each of content and style that tells nothing of the observations.

    There are two findings. A code may not *vary*: no unit is active. And it may *tell* next to
    nothing: its divergence from the prior, which bounds what it can tell, is below 0.1 nats in all,
    where two things told apart take 0.7. A code with both has collapsed onto the prior, if training
    had come to rest; where the ELBO was still rising, it is undertrained, and more cannot be said.

    Args:
        activity: what :func:`activity_metrics` returns.
        progress: what training came to; without it, nothing is said of undertraining.

    >>> activity = {"content": 2, "content_dim": 2, "kl_content": [1.5, 0.5]}
    >>> activity |= {"style": 0, "style_dim": 4, "kl_style": [0.0, 0.0, 0.01, 0.0]}
    >>> [warning.split(":")[0] for warning in collapse_warnings(activity)]
    ['style has collapsed onto the prior']
    >>> progress = TrainingProgress([-67.6, -22.3, -10.9], steps=27)
    >>> [warning.split(":")[0] for warning in collapse_warnings(activity, progress)]
    ['style tells nothing yet']
    """
    undertrained = progress and progress.undertrained()
    warnings = []
    for site, other, unit, lost in (
        ("content", "style", "group", "what a group shares is left to style"),
        ("style", "content", "observation", "observations of a group are all decoded alike"),
    ):
        units, dims, total = activity[site], activity[f"{site}_dim"], sum(activity[f"kl_{site}"])
        if units > 0 and total >= LEAST_NATS:
            continue
        nats = f"its divergence from the prior is {total:.2g} nats per {unit} in all"
        still = f"the loc of none of its {dims} dimensions varies between observations"
        if units > 0:
            head = "tells next to nothing"
            found = f"{nats}, though {units} of its {dims} dimensions vary between observations"
        elif total >= LEAST_NATS:
            head, found = "does not vary", f"{still}, though {nats}"
        else:
            head, found = "has collapsed onto the prior", f"{still}, and {nats}"
        if undertrained:
            warnings.append(
                f"{site} tells nothing yet: {found}; the run is {undertrained}: train longer"
            )
        else:
            warnings.append(
                f"{site} {head}: {found}, so {lost}: try a smaller {other}_dim, or a likelihood "
                f"that weighs x more, such as a Normal of smaller scale"
            )
    return warnings


def _variance(normal: Normal) -> list[float]:
    return normal.loc.double().var(0).tolist()


def _divergence(normal: Normal) -> list[float]:
    loc, scale = normal.loc.double(), normal.scale.double()
    prior = Normal(torch.zeros_like(loc), torch.ones_like(scale))
    return kl_divergence(Normal(loc, scale), prior).mean(0).tolist()
