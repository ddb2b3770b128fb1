r"""Doubly reparameterised gradients of the group-wise importance-weighted bound.

.. math:: \nabla_\phi = \sum_G \sum_k \tilde w_{G,k}^2 \,
    \nabla_z \log w_{G,k} \, \nabla_\phi z_{G,k},
    \qquad \tilde w_{G,k} = w_{G,k} / \textstyle\sum_j w_{G,j}

with the parameters of the guide held constant in :math:`\log w`. The guide's signal-to-noise ratio then
grows with the number of particles, where that of the bound's own gradient falls. The model's gradient is
the bound's own.

Reference: Tucker, Lawson, Gu, Maddison (2019), arXiv 1810.04152; Rainforth et al. (2018), arXiv 1802.04537.
"""

from __future__ import annotations

from typing import Any, cast

from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.estimators.group_renyi import GroupIWAE
from pyro_mlvae.estimators.group_weights import GROUPS, SUPER_GROUPS, group_frame, membership
from pyro_mlvae.estimators.programs import Program


class GroupDReG(GroupIWAE):
    """The value of :class:`GroupIWAE`, with doubly reparameterised gradients for the guide.

    Args:
        num_particles: weights that are averaged in each group; with one, it is
            :class:`StickingTheLanding`.
    """

    _freezes_guide = True
    # While a loss is formed: for each pass, the normalised weights of its particles, which are known only
    # after all of them, and needed only by the backward pass.
    _passes: list[dict[str, Tensor]] | None = None

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        if self.num_particles == 1:
            return super().differentiable_loss(model, guide, *args, **kwargs)
        passes = self._passes = []
        try:
            log_weights, scale = self.log_weights(model, guide, *args, **kwargs)
        finally:
            self._passes = None
        weights = log_weights.detach().softmax(0)
        for later, own in zip(passes, weights.chunk(len(passes)), strict=True):
            later["weights"] = own
        surrogate = (weights * log_weights).sum()
        bound = self.bound(log_weights.detach()).sum()
        return -scale * (bound + surrogate - surrogate.detach())

    def _inputs(self, draws: dict[str, Tensor], guide_trace: Trace, *args: Any) -> dict[str, Tensor]:
        """Copies of the draws, behind which gradients are weighted once more.

        Behind a copy, and not at the draw: where style is drawn given content, what style passes
        on to content is weighted already.
        """
        if self._passes is None:
            return draws
        later: dict[str, Tensor] = {}
        self._passes.append(later)
        copies = {}
        frames = {name: group_frame(name, guide_trace.nodes[name], args[0]) for name in draws}
        top = SUPER_GROUPS if SUPER_GROUPS in {f.name for f in frames.values()} else GROUPS
        for name, draw in draws.items():
            site, frame = guide_trace.nodes[name], frames[name]
            copies[name] = draw.clone()
            if draw.requires_grad:
                event_dim = cast(Any, site["fn"]).event_dim

                def weigh(gradient: Tensor, frame: Any = frame, event_dim: int = event_dim) -> Tensor:
                    weights = later["weights"]
                    if frame.name != top:
                        weights = weights.index_select(-1, membership(frame.name, top, args[0])[0])
                    # From [particles, members] to the dimensions of the gradient.
                    batch_ndim = gradient.ndim - event_dim
                    shape = [1] * batch_ndim
                    shape[frame.dim] = frame.size
                    if len(weights) > 1:
                        shape[0] = len(weights)
                    return gradient * weights.reshape(shape + [1] * event_dim)

                copies[name].register_hook(weigh)
        return copies
