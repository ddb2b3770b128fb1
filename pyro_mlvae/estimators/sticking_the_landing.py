r"""Sticking the landing: the ELBO's gradient along the path of the draws alone.

.. math:: \nabla_\phi E_q[\log p(x, z) - \log q(z; \phi)]
    = E_\epsilon[\nabla_z (\log p(x, z) - \log q(z; \phi)) \, \nabla_\phi z(\epsilon; \phi)]

The score :math:`\nabla_\phi \log q(z; \phi)` at a fixed draw is left out: its mean is zero, but its
variance is not. At the exact posterior what is left is zero for every draw.

Reference: Roeder, Wu, Duvenaud (2017), arXiv 1703.09194.
"""

from __future__ import annotations

from pyro_mlvae.estimators.trace import PathwiseTrace


class StickingTheLanding(PathwiseTrace):
    """The ELBO, with the path derivative as its gradient for the guide.

    Args:
        num_particles: draws that are averaged.

    The rest is as for :class:`pyro.infer.Trace_ELBO`. The model's gradient is the ordinary one.

    Raises:
        InputError: when it is used, a site of the guide is not reparameterised.
    """

    _freezes_guide = True
