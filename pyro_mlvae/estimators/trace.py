r"""The ELBO as one differentiable function: every term from draws, or divergences in closed form.

.. math:: \frac{1}{K} \sum_k \big( \log p(x, z_k) - \log q(z_k) \big), \qquad
    E_q[\log p(x \mid z)] - \sum_j KL(q(z_j) \,\|\, p(z_j))

``pyro.infer.Trace_ELBO`` and ``TraceMeanField_ELBO`` are these where every draw is reparameterised,
but read numbers on their way; these can be recorded as a graph.
"""

from __future__ import annotations

from typing import Any

from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.estimators.pathwise import PathwiseELBO, sample_sites
from pyro_mlvae.estimators.programs import Program


class PathwiseTrace(PathwiseELBO):
    """:class:`pyro.infer.Trace_ELBO` for reparameterised guides, without its score terms."""

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        elbos = []
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            # In the order of Trace_ELBO, whose gradient this is to the last bit.
            terms: list[Tensor] = [site["log_prob_sum"] for _, site in sample_sites(model_trace)]
            elbo = sum(terms[1:], start=terms[0])
            for _, site in sample_sites(guide_trace):
                elbo = elbo - site["log_prob_sum"]
            elbos.append(elbo)
        loss = -sum(elbos[1:], start=elbos[0])
        return loss if self.num_particles == 1 else loss / self.num_particles


class PathwiseMeanField(PathwiseELBO):
    """:class:`pyro.infer.TraceMeanField_ELBO` for reparameterised guides.

    Where no divergence is in closed form, it is that of the draw.
    """

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        loss: Any = 0.0
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            for name, site in sample_sites(model_trace):
                if site["is_observed"]:
                    loss = loss - site["log_prob_sum"]
                    continue
                own: Any = guide_trace.nodes[name]
                try:
                    divergence = kl_divergence(own["fn"], site["fn"])
                except NotImplementedError:
                    loss = loss + own["log_prob_sum"] - site["log_prob_sum"]
                else:
                    loss = loss + scale_and_mask(divergence, own["scale"], own["mask"]).sum()
        return loss / self.num_particles
