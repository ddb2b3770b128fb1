r"""What a penalty is, and what it sees.

.. math:: \frac{1}{|\text{groups}|} \Big( \sum_G ELBO(G) - \sum_j \text{penalty}_j \Big)

The objective of training is the estimator's, less penalties, under one scale. They compose: each is
a function of the same pass of guide and model, and none knows of the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.distributions.util import scale_and_mask
from pyro.poutine.trace_struct import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.group_weights import PARTICLES
from pyro_mlvae.estimators.pathwise import sample_sites

Codes = tuple[TorchDistributionMixin, TorchDistributionMixin]


@dataclass(frozen=True, eq=False)
class Latents:
    """The latents of a minibatch in one pass of guide and model, with the gradients through them.

    Attributes:
        batch: the minibatch.
        step: how many steps of training came before, from 0; in a recorded step a scalar tensor.
        guide: the guide's trace.
        model: the model's.
        encode: gives content and style of the minibatch's single observations, or None for a guide
            that has no ``codes``.
        decode: gives the distribution of x from content and style, or None for a model that has no
            ``observation``.
        read: gives the codes of other observations in the minibatch's places, or None like
            ``encode``.
    """

    batch: GroupedBatch
    step: Any
    guide: Trace
    model: Trace
    encode: Callable[[], Codes] | None = None
    decode: Callable[[Tensor, Tensor], TorchDistributionMixin] | None = None
    read: Callable[[Tensor], Codes] | None = None

    def posterior(self, site: str) -> Any:
        """The guide's distribution of the latent at ``site``."""
        return _node("guide", self.guide, site)["fn"]

    def prior(self, site: str) -> Any:
        """The model's distribution of the latent at ``site``."""
        return _node("model", self.model, site)["fn"]

    def value(self, site: str) -> Tensor:
        """The draw of the latent at ``site``."""
        return _node("guide", self.guide, site)["value"]

    def total(self, site: str, values: Tensor) -> Tensor:
        """The sum of ``values``, one for each member of ``site``, over those that are not masked.

        Args:
            site: the latent.
            values: ``[..., *batch_shape]``, the batch shape that of the latent's distribution. Of
                vectorised particles, the mean is taken.
        """
        node = _node("guide", self.guide, site)
        particles = [frame.size for frame in node["cond_indep_stack"] if frame.name == PARTICLES]
        leading = values.shape[: values.ndim - len(node["fn"].batch_shape)]
        members = scale_and_mask(values, 1.0, node["mask"]).reshape(*leading, -1)
        return members.sum(-1) / (particles[0] if particles else 1)

    def divergence(self, site: str) -> Tensor:
        """The divergence of the posterior of each member of ``site`` from its prior, in nats.

        In closed form where PyTorch has one, and that of the draw where it has not.
        """
        posterior, prior = self.posterior(site), self.prior(site)
        try:
            divergence = kl_divergence(posterior, prior)
        except NotImplementedError:
            drawn = self.value(site)
            divergence = posterior.log_prob(drawn) - prior.log_prob(drawn)
        return divergence

    @cached_property
    def codes(self) -> Codes:
        """Content and style of single observations, as :meth:`GroupedGuide.codes` has them.

        What style is at test time: where it depends on content, on that of the observation alone.
        """
        if self.encode is None:
            raise InputError(
                "a penalty on codes needs a guide that has them: derive the guide from GroupedGuide"
            )
        return self.encode()


class Penalty(ABC):
    """What is taken off the objective.

    A subclass defines :meth:`__call__`, a differentiable function of a pass. It is a sum over the
    minibatch, in nats, as the ELBO's terms are, so that its weight means the same for any
    minibatch.
    """

    @abstractmethod
    def __call__(self, latents: Latents) -> Tensor:
        """The penalty, a scalar in nats, summed over the minibatch's observations or groups."""


def risen(step: Any, warmup_steps: int) -> Any:
    """What part of its full value a number has that rises linearly from 0 over so many steps."""
    return torch.as_tensor(step / warmup_steps).clamp(max=1.0) if warmup_steps else 1.0


def require_weight(**arguments: float) -> None:
    """Raise for the first argument that is not a finite number of at least 0."""
    for name, value in arguments.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0.0 <= value < float("inf")):
            raise InputError(f"{name} must be a finite number of at least 0, got {value!r}")


def _node(kind: str, trace: Trace, site: str) -> Any:
    latents = {name: node for name, node in sample_sites(trace) if not node["is_observed"]}
    if site not in latents:
        raise InputError(f"the {kind} has no latent {site!r}: penalise one of {', '.join(latents)}")
    return latents[site]
