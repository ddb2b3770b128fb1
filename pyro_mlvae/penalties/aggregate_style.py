r"""The aggregate style of each group, held to the prior.

.. math:: \sum_G |G| \, KL\Big( N(m_G, v_G) \,\Big\|\, N(0, 1) \Big), \qquad
    m_G = \frac{1}{|G|} \sum_{i \in G} \mu_i, \quad
    v_G = \frac{1}{|G|} \sum_{i \in G} \big( \sigma_i^2 + (\mu_i - m_G)^2 \big)

Under the model, style does not depend on the group, so the styles of any group should, taken
together, look like the prior. The penalty compares their first two moments, dimension by dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from pyro_mlvae.ops import moments, sum_by_group
from pyro_mlvae.penalties.base import Latents, Penalty, require_weight


@dataclass(frozen=True)
class AggregateStyle(Penalty):
    """The divergence of each group's aggregate style, as a Normal of its moments, from N(0, I).

    Attributes:
        weight: of one nat; in nats per observation.

    A group of few observations has, by chance alone, a mean that is not 0: of a group of n, about 1
    / 2n nats a dimension are no fault of the guide's. Groups of one are left out.

    Raises:
        InputError: the weight is no number of at least 0; and, when it is used, the guide is none
            that has codes.

    >>> AggregateStyle(weight=10.0)
    AggregateStyle(weight=10.0)
    """

    weight: float

    def __post_init__(self) -> None:
        require_weight(weight=self.weight)

    def __call__(self, latents: Latents) -> Tensor:
        _, style = latents.codes
        batch = latents.batch
        style_loc, style_scale = moments(style)
        sizes = batch.sizes.unsqueeze(-1).to(style_loc)

        def mean(values: Tensor) -> Tensor:
            return sum_by_group(values, batch.group, batch.num_groups) / sizes

        loc = mean(style_loc)
        spread = style_loc - loc.index_select(0, batch.group)
        variance = mean(style_scale.square() + spread.square())
        one = torch.ones_like(loc)
        divergence = kl_divergence(Normal(loc, variance.sqrt()), Normal(0.0 * one, one))
        return self.weight * (divergence * sizes * (sizes > 1)).sum()
