r"""Reweighted wake-sleep by group: the guide follows the posterior instead of the bound.

.. math::
    \nabla_\theta &= \sum_G \sum_k \tilde w_{G,k} \, \nabla_\theta \log p(X_G, z_{G,k}), \qquad
    \tilde w_{G,k} = w_{G,k} / \textstyle\sum_j w_{G,j} \\
    \nabla_\phi &= \sum_G \sum_k \tilde w_{G,k} \, \nabla_\phi \log q(z_{G,k} \mid X_G)

The model climbs group-iwae. The guide climbs the expectation of :math:`\log q` under the posterior,
which self-normalised weights stand for: it descends KL(p || q) instead of KL(q || p), so it covers
the posterior rather than one mode of it (the wake phase of the guide; no sleep phase). Draws are
constants, so a guide need not be reparameterised.

Reference: Bornschein, Bengio (2015), arXiv 1406.2751.
"""

from __future__ import annotations

from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.estimators.group_renyi import GroupIWAE
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import Program


class GroupRWS(GroupIWAE):
    """The value of :class:`GroupIWAE`, with the wake-phase updates of reweighted wake-sleep.

    Args:
        num_particles: draws whose weights are normalised in each group. With one, the guide's
            gradient is a score without a signal: take ten or more.

    A penalty that reads draws does not move the guide here, since draws are constants.

    >>> import torch
    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> abs(-GroupRWS(3).loss(*pair, batch) - float(solved.log_evidence(batch).sum())) < 1e-8
    True
    """

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        of_model, of_guide, scale = self.log_densities(model, guide, *args, **kwargs)
        log_weights = (of_model - of_guide).detach()
        surrogate = (log_weights.softmax(0) * (of_model + of_guide)).sum()
        return -scale * (self.bound(log_weights).sum() + surrogate - surrogate.detach())

    def _draw(
        self, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, dict[str, Tensor]]:
        """The guide run once, with draws that have no path to its parameters."""
        # Around the trace, which would note a draw before what is inside it has cut that off.
        with _ConstantDraws():
            drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        return drawn, {
            name: site["value"] for name, site in sample_sites(drawn) if not site["is_observed"]
        }


class _ConstantDraws(Messenger):
    """Cuts every draw off what it was drawn from, before anything is made of it."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["value"], Tensor):
            msg["value"] = msg["value"].detach()
