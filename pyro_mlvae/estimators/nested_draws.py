"""Draws that are nested: several in a plate for every draw in the plate around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.group_weights import sum_upwards


class SharedDraws(Messenger):
    """Gives particles that differ only in a plate further in one draw of each latent.

    Particles are numbered with the innermost plate running fastest. The repeated draw has the shape
    of so many draws, so that model and guide see nothing but particles.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__()
        self._sharing: dict[str, int] = {}
        sharing = 1
        for plate, count in reversed(list(counts.items())):
            self._sharing[plate] = sharing
            sharing *= count

    def _pyro_post_sample(self, msg: Any) -> None:
        plate = next((f.name for f in msg["cond_indep_stack"] if f.name in self._sharing), None)
        if msg["is_observed"] or plate is None or self._sharing[plate] == 1:
            return
        sharing = self._sharing[plate]
        one_of_each = msg["value"][::sharing]
        repeated = one_of_each.unsqueeze(1).expand(-1, sharing, *one_of_each.shape[1:])
        msg["value"] = repeated.flatten(0, 1)


def average_upwards(
    by_plate: Mapping[str, Tensor],
    counts: Mapping[str, int],
    batch: GroupedBatch,
) -> Float[Tensor, "draws members"]:
    """Log weights by plate, averaged plate by plate into those of each draw in the outermost one.

    Args:
        by_plate: the log weights of each plate's members, ``[*particles, members]``, in nats.
        counts: draws in each plate, outermost first.
        batch: which member belongs where.
    """
    plates, outside = list(counts), math.prod(counts.values())
    inside: dict[str, Tensor] = {}
    for plate in reversed(plates):
        weights = dict(inside)
        if plate in by_plate:
            # Particles that share the draws of this plate have equal weights in it.
            own = by_plate[plate]
            weights[plate] = own.reshape(outside, -1, own.shape[-1])[:, 0]
        terms = sum_upwards(weights, batch) if inside else weights[plate]
        if plate == plates[0]:
            break
        outside //= counts[plate]
        inside = {plate: terms.unflatten(0, (outside, -1)).logsumexp(1) - math.log(counts[plate])}
    return terms
