r"""The ELBO from draws, every term by Monte Carlo, as one differentiable function of the parameters.

.. math:: \frac{1}{K} \sum_k \big( \log p(x, z_k) - \log q(z_k) \big)

``pyro.infer.Trace_ELBO`` is this where every draw is reparameterised, but reads numbers on its way;
this one can be recorded as a graph.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pyro_mlvae.estimators.pathwise import PathwiseELBO, sample_sites
from pyro_mlvae.estimators.programs import Program


class PathwiseTrace(PathwiseELBO):
    """:class:`pyro.infer.Trace_ELBO` for reparameterised guides, draw by draw, without its score terms.

    Args:
        num_particles: draws that are averaged.

    Raises:
        InputError: when it is used, a site of the guide is not reparameterised.
    """

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
