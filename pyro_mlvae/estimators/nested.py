r"""The nested importance-weighted bound: several draws of style for every draw of content.

.. math:: \sum_G \log \frac{1}{K} \sum_k
    \frac{p(C_G^k)}{q(C_G^k \mid X_G)} \prod_{i \in G} \frac{1}{M} \sum_m
    \frac{p(x_i, S_i^{km} \mid C_G^k)}{q(S_i^{km} \mid x_i, C_G^k)}

Given content, the observations of a group are independent, so the weights of their styles are
averaged for each observation by itself. One weight for all of them, as in the group-wise bound, is
a product over the group: it varies the more, the larger the group, and the bound is looser. With M
= 1 the two are equal. Where latents stand in the plate "super-groups", K contents are drawn for
each of K super-contents.

Reference: Burda, Grosse, Salakhutdinov (2016), arXiv 1509.00519; Naesseth, Lindsten, Schön (2015),
arXiv 1502.02536, for the nesting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.infer.enum import get_importance_trace
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import require_positive
from pyro_mlvae.estimators.group_weights import (
    GROUPS,
    OBSERVATIONS,
    PARTICLES,
    SUPER_GROUPS,
    group_frame,
    has_super_groups,
    log_weights_by_plate,
    sum_upwards,
)
from pyro_mlvae.estimators.nested_draws import SharedDraws, average_upwards
from pyro_mlvae.estimators.pathwise import PathwiseELBO, common_scale, pin, sample_sites
from pyro_mlvae.estimators.programs import Program, in_mode

# So many values of x are decoded at once: wide enough to keep a core busy, and a few megabytes.
_VALUES_AT_ONCE = 2**20


class NestedIWAE(PathwiseELBO):
    """The nested importance-weighted bound of each group, summed over groups.

    Args:
        num_particles: draws of content for each group; of super-content as well where there is one.
        inner: draws of style for every observation, given each content.

    All draws are made in one pass: vectorised, whatever ``vectorize_particles`` says. The rest is
    as for :class:`~pyro_mlvae.estimators.GroupIWAE`, and so is how masks and scales count.

    Raises:
        InputError: a number is not positive; and, when it is used, a site is outside the plates
            "super-groups", "groups" and "observations", sites differ in scale, or a site of the
            guide is not reparameterised.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> bound = -NestedIWAE(num_particles=3, inner=2).loss(*pair, batch)
    >>> abs(bound - float(solved.log_evidence(batch).sum())) < 1e-8
    True
    """

    def __init__(self, num_particles: int = 1, inner: int = 5, **kwargs: Any) -> None:
        require_positive(num_particles=num_particles, inner=inner)
        super().__init__(num_particles=num_particles, **kwargs | {"vectorize_particles": False})
        self.inner = inner

    def counts(self, guide: Program, batch: GroupedBatch) -> dict[str, int]:
        """The draws in each plate for every draw in the plate around it, outermost first."""
        above = {SUPER_GROUPS: self.num_particles} if has_super_groups(guide, batch) else {}
        return above | {GROUPS: self.num_particles, OBSERVATIONS: self.inner}

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        counts = self.counts(guide, args[0])
        pair = self.traces(model, guide, counts, {}, args, kwargs)
        log_weights = average_upwards(log_weights_by_plate(*pair, args[0]), counts, args[0])
        return -common_scale(*pair) * (log_weights.logsumexp(0) - math.log(len(log_weights))).sum()

    def traces(
        self,
        model: Program,
        guide: Program,
        counts: Mapping[str, int],
        values: Mapping[str, Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        """Of model and guide, with a particle for every way to take one of the draws in each plate.

        ``counts`` are the draws in each plate, outermost first; ``values`` belong to sites that are
        not drawn, each with the dimensions of one draw.
        """
        if self.max_plate_nesting == math.inf:
            self._guess_max_plate_nesting(model, guide, args, kwargs)
        particles = math.prod(counts.values())

        def vectorised(program: Program) -> Program:
            if particles == 1:
                return pin(program, values)
            plate = pyro.plate(PARTICLES, particles, dim=-int(self.max_plate_nesting) - 1)
            many = {name: value.expand(particles, *value.shape) for name, value in values.items()}
            return pin(plate(program), many)

        with SharedDraws(counts):
            return self._get_trace(vectorised(model), vectorised(guide), args, kwargs)


@torch.no_grad()
def nested_bound(
    model: Program, guide: Program, batch: GroupedBatch, draws: int, inner: int, *, seed: int = 0
) -> Float[Tensor, " units"]:
    """The nested bound on the log evidence of each group, or of each super-group that has latents.

    Its expectation is the ELBO for one draw of each, and rises towards the evidence with both
    numbers. To a VAE an observation is a group: measure it on ``batch.singletons()``. The draws are
    fixed by ``seed``, and the caller's random state and parameter store are left as they were;
    model and guide run in evaluation mode. Memory does not grow with the draws. Model and guide
    that take no particles are run once for every draw.

    Args:
        model: the model.
        guide: its guide.
        batch: what both are run on.
        draws: of content for each group; of super-content as well where there is one.
        inner: draws of style for every observation, given each content.
        seed: of the draws.

    Returns:
        Nats, ``[num_groups]`` or ``[num_parents]``, in float64.

    Raises:
        InputError: a number is not positive, or a site is outside the plates.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([2, 3]))
    >>> pair = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    >>> bound = nested_bound(*pair, batch, draws=3, inner=2)
    >>> torch.allclose(bound, solved.log_evidence(batch))
    True
    """
    require_positive(draws=draws, inner=inner)
    device = batch.x.device
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        pyro.get_param_store().scope(),
        in_mode(model, guide, training=False),
    ):
        passes = _Passes(model, guide, batch, draws, inner)
        torch.manual_seed(seed)
        return passes.averaged(passes.counts, {})[next(iter(passes.counts))]


class _Value(NestedIWAE):
    """The bound without a gradient, for which no draw needs to be reparameterised."""

    def _get_trace(self, *args: Any) -> tuple[Trace, Trace]:
        return get_importance_trace("flat", math.inf, *args)


class _Passes:
    """The bound in several passes, each with as many draws as there is memory for."""

    def __init__(
        self, model: Program, guide: Program, batch: GroupedBatch, draws: int, inner: int
    ) -> None:
        self._model, self._guide, self._batch = model, guide, batch
        pair = get_importance_trace("flat", math.inf, model, guide, (batch,), {})
        sites = [site for trace in pair for _, site in sample_sites(trace)]
        frames = [frame for site in sites for frame in site["cond_indep_stack"]]
        nesting = max((-frame.dim for frame in frames if frame.vectorized), default=0)
        self._estimator = _Value(draws, inner, max_plate_nesting=nesting)
        self.counts = self._estimator.counts(guide, batch)
        self._at_once = max(1, _VALUES_AT_ONCE // batch.x.numel())
        if self._at_once > 1 and draws * inner > 1:
            try:
                self._of_many({OBSERVATIONS: 2}, {})
            except (ValueError, RuntimeError, IndexError):
                # Not every program takes particles; what else is wrong shows without them.
                self._at_once = 1

    def averaged(
        self, counts: Mapping[str, int], values: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The log mean weights in the outermost plate of ``counts``; log weights in those around.

        ``values`` are those of the latents in the plates around.
        """
        (top, count), *below = counts.items()
        inside = dict(below)
        at_once = self._at_once // math.prod(inside.values())
        if inside and at_once == 0:
            found = (self._of_one(top, inside, values) for _ in range(count))
        else:
            parts = torch.arange(count).split(max(at_once, 1))
            found = (self._of_many({top: len(part), **inside}, values) for part in parts)
        total = torch.tensor(-math.inf, dtype=torch.float64, device=self._batch.x.device)
        by_plate: dict[str, Tensor] = {}
        for by_plate in found:
            total = total.logaddexp(by_plate[top])
        return by_plate | {top: total - math.log(count)}

    def _of_many(
        self, counts: Mapping[str, int], values: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The same in one pass, summed over the draws in the outermost plate."""
        pair = self._estimator.traces(self._model, self._guide, counts, values, (self._batch,), {})
        found = log_weights_by_plate(*pair, self._batch)
        by_plate = {plate: terms.double() for plate, terms in found.items()}
        averaged = average_upwards(by_plate, counts, self._batch).logsumexp(0)
        # Which do not vary with what is drawn here.
        around = {
            plate: terms.reshape(-1, terms.shape[-1])[0]
            for plate, terms in by_plate.items()
            if plate not in counts
        }
        return around | {next(iter(counts)): averaged}

    def _of_one(
        self, top: str, inside: Mapping[str, int], values: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The same for one draw in the outermost plate, inside which the others are averaged."""
        guide_trace = poutine.trace(pin(self._guide, values)).get_trace(self._batch)
        drawn = {
            name: site["value"]
            for name, site in sample_sites(guide_trace)
            if group_frame(name, site, self._batch).name == top
        }
        by_plate = self.averaged(inside, {**values, **drawn})
        plates = (top, next(iter(inside)))
        within = {plate: by_plate.pop(plate) for plate in plates if plate in by_plate}
        return by_plate | {top: sum_upwards(within, self._batch)}
