r"""Importance weights of groups: given the parameters, groups are independent, so each has its own.

.. math:: \log w_G = \log p(X_G, C_G, S_G) - \log q(C_G, S_G \mid X_G)

A site belongs to a group by the plate it stands in: "groups", or "observations" and the batch's
``group``. One weight for the whole batch, which is what ``pyro.infer.RenyiELBO`` forms of this layout,
is a valid bound too, but far looser.
"""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Float
from pyro.distributions.util import scale_and_mask
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.pathwise import sample_sites

GROUPS, OBSERVATIONS = "groups", "observations"
PARTICLES = "num_particles_vectorized"  # the plate in which Pyro vectorises them


def group_log_weights(
    model_trace: Trace, guide_trace: Trace, batch: GroupedBatch
) -> Float[Tensor, "*particles groups"]:
    """The log importance weight of each group, in nats: masks count, scales do not.

    Args:
        model_trace: of the model, replayed against the guide's draws, with log probabilities.
        guide_trace: of the guide, with log probabilities.
        batch: what both were run on.

    Raises:
        InputError: a site stands outside both plates, so that it belongs to no group, or a plate is not
            of the batch's size.
    """
    return _by_group(model_trace, batch) - _by_group(guide_trace, batch)


def group_frame(name: str, site: Any, batch: GroupedBatch) -> CondIndepStackFrame:
    """The plate of a site's members: "groups", or "observations".

    Raises:
        InputError: it stands in neither, or that plate is not of the batch's size.
    """
    plates = {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}
    frame = plates.get(GROUPS) or plates.get(OBSERVATIONS)
    if frame is None:
        raise InputError(
            f"terms by group need every site in the plate {GROUPS!r} or {OBSERVATIONS!r}, but "
            f"{name!r} is in neither (its plates: {sorted(plates) or 'none'}): put it in one"
        )
    expected = batch.num_groups if frame.name == GROUPS else len(batch)
    if frame.size != expected:
        raise InputError(
            f"the plate {frame.name!r} of {name!r} must be of the batch's size {expected}, got "
            f"{frame.size}: weigh a model of single observations on batch.singletons()"
        )
    return frame


def _by_group(trace: Trace, batch: GroupedBatch) -> Tensor:
    total = batch.x.new_zeros(batch.num_groups)
    for name, site in sample_sites(trace):
        frame = group_frame(name, site, batch)
        log_prob = scale_and_mask(site["unscaled_log_prob"], 1.0, site["mask"])
        # An independent site may leave out dimensions that broadcast.
        dim = cast(int, frame.dim)
        shape = [1] * (-dim - log_prob.ndim) + list(log_prob.shape)
        shape[dim] = frame.size
        # What other plates hold, such as one of pixels, belongs to the same member.
        kept = {dim} | {f.dim for f in site["cond_indep_stack"] if f.name == PARTICLES}
        others = [d for d in range(-len(shape), 0) if d not in kept]
        log_prob = log_prob.expand(shape)
        log_prob = log_prob.sum(others) if others else log_prob
        if frame.name == OBSERVATIONS:
            zero = log_prob.new_zeros(*log_prob.shape[:-1], batch.num_groups)
            log_prob = zero.index_add(-1, batch.group, log_prob)
        total = total + log_prob
    return total
