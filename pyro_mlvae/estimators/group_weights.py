r"""Importance weights of groups: given the parameters, groups are independent, so each has its own.

.. math:: \log w_G = \log p(X_G, C_G, S_G) - \log q(C_G, S_G \mid X_G)

A site belongs to a group by the plate it stands in: "groups", or "observations" and the batch's
``group``. One weight for the whole batch, which is what ``pyro.infer.RenyiELBO`` forms of this
layout, is a valid bound too, but far looser. Where latents stand in the plate "super-groups", it is
the super-groups that are independent, and each of those has one weight.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.enum import get_importance_trace
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import Program, in_mode

SUPER_GROUPS, GROUPS, OBSERVATIONS = "super-groups", "groups", "observations"
PARTICLES = "num_particles_vectorized"  # the plate in which Pyro vectorises them


def group_log_weights(
    model_trace: Trace, guide_trace: Trace, batch: GroupedBatch
) -> Float[Tensor, "*particles units"]:
    """The log importance weight of each group, in nats: masks count, scales do not.

    Args:
        model_trace: of the model, replayed against the guide's draws, with log probabilities.
        guide_trace: of the guide, with log probabilities.
        batch: what both were run on.

    Returns:
        One weight a group, or one a super-group where there are latents of super-groups.

    Raises:
        InputError: a site stands outside the plates, so that it belongs to no group, or a plate is
            not of the batch's size.
    """
    return sum_upwards(log_weights_by_plate(model_trace, guide_trace, batch), batch)


def drawn_log_weights(
    model: Program, guide: Program, batch: GroupedBatch
) -> Float[Tensor, " units"]:
    """:func:`group_log_weights` of one draw from the guide, which need not be reparameterised."""
    of_model, of_guide = get_importance_trace("flat", math.inf, model, guide, (batch,), {})
    return group_log_weights(of_model, of_guide, batch)


def log_weights_by_plate(
    model_trace: Trace, guide_trace: Trace, batch: GroupedBatch
) -> dict[str, Float[Tensor, "*particles members"]]:
    """The same by the plate in which sites stand, before members are summed into groups."""
    total: dict[str, Any] = log_density_by_plate(model_trace, batch)
    for plate, terms in log_density_by_plate(guide_trace, batch).items():
        total[plate] = total.get(plate, 0.0) - terms
    return total


def log_density_by_plate(
    trace: Trace, batch: GroupedBatch
) -> dict[str, Float[Tensor, "*particles members"]]:
    """The log density of one program alone, in nats, by the plate in which its sites stand."""
    total: dict[str, Any] = {}
    for name, site in sample_sites(trace):
        frame = group_frame(name, site, batch)
        total[frame.name] = total.get(frame.name, 0.0) + _of_members(site, frame)
    return total


def sum_upwards(
    by_plate: dict[str, Float[Tensor, "*particles members"]], batch: GroupedBatch
) -> Float[Tensor, "*particles units"]:
    """Terms by plate, summed into groups, or into super-groups where there are terms of those."""
    top = SUPER_GROUPS if SUPER_GROUPS in by_plate else GROUPS
    total: Any = by_plate.get(top, 0.0)
    for plate, terms in by_plate.items():
        if plate != top:
            member, count = membership(plate, top, batch)
            zero = terms.new_zeros(*terms.shape[:-1], count)
            total = total + zero.index_add(-1, member, terms)
    return total


def has_super_groups(guide: Program, batch: GroupedBatch) -> bool:
    """Whether the guide draws latents of super-groups. Nothing random is drawn to find out."""
    if batch.parent is None:
        return False
    with torch.no_grad(), in_mode(guide, training=False), _Zeros(batch.x):
        trace = poutine.trace(guide).get_trace(batch)
    return any(
        group_frame(name, site, batch).name == SUPER_GROUPS for name, site in sample_sites(trace)
    )


class _Zeros(Messenger):
    """Gives every latent zeros for a draw: no random number is taken."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self._like = like

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            msg["value"], msg["done"] = self._like.new_zeros(msg["fn"].shape()), True


def membership(plate: str, top: str, batch: GroupedBatch) -> tuple[Tensor, int]:
    """The unit of ``top`` that each member of ``plate`` belongs to, and the number of units."""
    if top == GROUPS:
        return batch.group, batch.num_groups
    parent = batch.super_groups()
    return parent if plate == GROUPS else parent.index_select(0, batch.group), batch.num_parents


def group_frame(name: str, site: Any, batch: GroupedBatch) -> CondIndepStackFrame:
    """The plate of a site's members: "super-groups", "groups", or "observations".

    Raises:
        InputError: it stands in none of them, or that plate is not of the batch's size.
    """
    plates = {frame.name: frame for frame in site["cond_indep_stack"] if frame.vectorized}
    sizes = {SUPER_GROUPS: batch.num_parents, GROUPS: batch.num_groups, OBSERVATIONS: len(batch)}
    frame = next((plates[plate] for plate in sizes if plate in plates), None)
    if frame is None:
        raise InputError(
            f"terms by group need every site in the plate {GROUPS!r} or {OBSERVATIONS!r}, but "
            f"{name!r} is in neither (its plates: {sorted(plates) or 'none'}): put it in one"
        )
    if frame.size != sizes[frame.name]:
        raise InputError(
            f"the plate {frame.name!r} of {name!r} must be of the batch's size "
            f"{sizes[frame.name]}, got {frame.size}: weigh a model of single observations on "
            f"batch.singletons()"
        )
    return frame


def _of_members(site: Any, frame: CondIndepStackFrame) -> Tensor:
    """The log probability of each member of the site's plate, ``[*particles, members]``."""
    log_prob = scale_and_mask(site["unscaled_log_prob"], 1.0, site["mask"])
    # An independent site may leave out dimensions that broadcast.
    dim = cast(int, frame.dim)
    shape = [1] * (-dim - log_prob.ndim) + list(log_prob.shape)
    shape[dim] = frame.size
    # What other plates hold, such as one of pixels, belongs to the same member.
    kept = {dim} | {f.dim for f in site["cond_indep_stack"] if f.name == PARTICLES}
    others = [d for d in range(-len(shape), 0) if d not in kept]
    log_prob = log_prob.expand(shape)
    return log_prob.sum(others) if others else log_prob
