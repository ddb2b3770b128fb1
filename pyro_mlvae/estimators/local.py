r"""Content drawn afresh for every observation of a group, as in the paper's algorithm.

.. math:: \sum_G \Big( \sum_{i \in G} E_{q(C_G | X_G)} E_{q(S_i | x_i, C_G)}
    \big[ \log p(x_i \mid C_G, S_i) + \log p(S_i) - \log q(S_i \mid x_i, C_G) \big]
    - KL(q(C_G \mid X_G) \,\|\, p(C)) \Big)

Each observation has a draw of its own, so the errors of the terms of a group are independent and
average out, which those of one shared draw do not. The divergence of content is in closed form.

Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841, algorithm 1.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import is_validation_enabled
from pyro.poutine.trace_struct import Trace
from pyro.util import check_model_guide_match
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.group_weights import GROUPS, SUPER_GROUPS, group_frame
from pyro_mlvae.estimators.pathwise import common_scale, pin, reparameterised, sample_sites
from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.estimators.trace import PathwiseTrace


class LocalELBO(PathwiseTrace):
    """The ELBO, with a draw of content for every observation.

    The guide is run on the groups, for the posterior of their content; then guide and model are run
    on the same observations as groups of one, with content pinned to draws from it. So neither has
    to know of it: whatever takes a :class:`~pyro_mlvae.GroupedBatch` will do, if it takes groups of
    one.

    Args:
        num_particles: draws for each observation that are averaged.

    Raises:
        InputError: when it is used, content is no Normal, model or guide do not take groups of one,
            a site is outside the plates "super-groups", "groups" and "observations", is not
            reparameterised, or has a scale of its own.
    """

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """Both run on groups of one, but for content, whose sites hold its divergence by group."""
        batch: GroupedBatch = args[0]
        of_groups = poutine.trace(guide).get_trace(*args, **kwargs)
        drawn = reparameterised(type(self).__name__, of_groups)
        plates = {
            name: group_frame(name, site, batch).name for name, site in sample_sites(of_groups)
        }
        contents: dict[str, Any] = {
            name: of_groups.nodes[name] for name, plate in plates.items() if plate == GROUPS
        }
        draws = {name: _of(name, site, batch.group).rsample() for name, site in contents.items()}
        draws |= {name: drawn[name] for name, plate in plates.items() if plate == SUPER_GROUPS}
        alone = batch.singletons()
        try:
            guide_trace = poutine.trace(pin(guide, draws)).get_trace(alone, *args[1:], **kwargs)
            draws |= {name: site["value"] for name, site in sample_sites(guide_trace)}
            model_trace = poutine.trace(pin(model, draws)).get_trace(alone, *args[1:], **kwargs)
        except InputError:
            raise
        except (ValueError, RuntimeError, IndexError) as error:
            raise InputError(
                f"the estimator 'local' runs model and guide on batch.singletons(), {len(alone)} "
                f"groups of one, and they do not take them: use 'trace' (it said: "
                f"{str(error).splitlines()[0]})"
            ) from error
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
        for trace in (model_trace, guide_trace):
            for name, site in sample_sites(trace):
                group_frame(name, site, alone)
        common_scale(model_trace, guide_trace)  # a divergence has but one
        # Of each group, one observation, where the model says what the prior of its content is.
        index = torch.arange(len(batch), device=batch.group.device)
        first = index.new_full((batch.num_groups,), len(batch))
        first = first.scatter_reduce(0, batch.group, index, "amin")
        everything = torch.arange(batch.num_groups, device=batch.group.device)
        nodes: Any = (guide_trace.nodes, model_trace.nodes)
        for name, site in contents.items():
            posterior = _of(name, site, everything)
            prior = _of(name, model_trace.nodes[name], first)
            divergence = kl_divergence(posterior, prior)
            of_group = {**site, "fn": posterior}
            nodes[0][name] = {**of_group, **_density(site, divergence)}
            nodes[1][name] = {**of_group, "fn": prior, **_density(site, 0.0 * divergence)}
        for name, plate in plates.items():
            if plate == SUPER_GROUPS:
                # What super-groups are drawn from is what the groups say, not single observations.
                guide_trace.nodes[name] = of_groups.nodes[name]
        for trace in (model_trace, guide_trace):
            trace.compute_log_prob()
        return model_trace, guide_trace


def _density(site: Any, log_prob: Tensor) -> dict[str, Any]:
    """What a trace holds of a site whose log probability is known."""
    scaled = scale_and_mask(log_prob, site["scale"], site["mask"])
    return {"unscaled_log_prob": log_prob, "log_prob": scaled, "log_prob_sum": scaled.sum()}


def _of(name: str, site: Any, index: Tensor) -> Any:
    """The distribution of those members of the site's plate, in that order."""
    fn = site["fn"]
    base = fn.base_dist if isinstance(fn, dist.Independent) else fn
    if not isinstance(base, dist.Normal):
        raise InputError(
            f"the estimator 'local' needs Normal content, whose divergence is in closed form, but "
            f"the site {name!r} is {type(base).__name__}: use 'trace'"
        )
    (frame,) = (f for f in site["cond_indep_stack"] if f.name == GROUPS)
    dim = frame.dim - fn.event_dim
    loc, scale = (value.index_select(dim, index) for value in (base.loc, base.scale))
    return dist.Normal(loc, scale).to_event(fn.event_dim)
