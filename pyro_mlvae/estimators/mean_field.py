r"""The ELBO with divergences in closed form, as one differentiable function of the parameters.

.. math:: E_q[\log p(x \mid z)] - \sum_j KL(q(z_j) \,\|\, p(z_j))

``pyro.infer.TraceMeanField_ELBO`` is this, but reads numbers on its way; this one can be recorded
as a graph.
"""

from __future__ import annotations

from typing import Any

from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.estimators.pathwise import PathwiseELBO, sample_sites
from pyro_mlvae.estimators.programs import Program


class PathwiseMeanField(PathwiseELBO):
    """:class:`pyro.infer.TraceMeanField_ELBO`; where no divergence is in closed form, that of the draw.

    Args:
        num_particles: draws that are averaged.

    Raises:
        InputError: when it is used, a site of the guide is not reparameterised.
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
