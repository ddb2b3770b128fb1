"""Paths of draws that are weighed apart from densities: the base of DReG and PIWAE.

A weight that multiplies the gradient behind a draw reaches the guide, and not the model. It depends
on all particles, so it is known only when the densities are; the backward pass is where it is
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from jaxtyping import Float
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.estimators.group_renyi import GroupIWAE
from pyro_mlvae.estimators.group_weights import GROUPS, SUPER_GROUPS, group_frame, membership


class WeightedPaths(GroupIWAE):
    """:class:`GroupIWAE` whose draws pass gradients on with a weight for each group and particle.

    Args:
        num_particles: weights that are averaged in each group.
    """

    # While a loss is formed: for each pass, the weights of its particles, once they are known.
    _passes: list[dict[str, Tensor]] | None = None

    @contextmanager
    def _weighing(self) -> Iterator[Callable[[Float[Tensor, "particles units"]], None]]:
        """Traces made inside have weighted paths; gives a function that takes the weights."""
        passes = self._passes = []

        def weigh(weights: Tensor) -> None:
            for later, own in zip(passes, weights.chunk(len(passes)), strict=True):
                later["weights"] = own

        try:
            yield weigh
        finally:
            self._passes = None

    def _inputs(
        self, draws: dict[str, Tensor], guide_trace: Trace, *args: Any
    ) -> dict[str, Tensor]:
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

                def weigh(
                    gradient: Tensor, frame: Any = frame, event_dim: int = event_dim
                ) -> Tensor:
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
