r"""Styles of one group are no nearer to each other than to those of other groups.

.. math:: \sum_i -\log
    \frac{\sum_{j : G(j) \neq G(i)} \exp(s_{ij} / \tau)}{\sum_{j \neq i} \exp(s_{ij} / \tau)}

with :math:`s_{ij}` the cosine of two styles. This is the soft nearest neighbour loss by which a
class is pulled together, with its pairs switched: observations of other groups take the place of
those of the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pyro_mlvae.errors import InputError
from pyro_mlvae.ops import mean_of
from pyro_mlvae.penalties.base import Latents, Penalty, require_weight


@dataclass(frozen=True)
class PairSwitching(Penalty):
    """Minus the log chance that an observation's neighbour in style is of another group.

    Attributes:
        weight: of one nat; in nats per observation.
        temperature: tau, of the cosine; the smaller, the fewer neighbours count.

    As for :class:`HSIC`, style is the loc that single observations have at test time. It is least
    where observations of one group are *far* from each other, which is a dependence as well: HSIC,
    which is zero where style and group are independent, has no such minimum. A minibatch of one
    group is not penalised.

    Raises:
        InputError: a number is out of range; and, when it is used, no two observations of the
            minibatch are of one group, or the guide is none that has codes.

    Reference: Sun, Goldstein, Engelhard (2025), "CLEAR", arXiv 2507.18794; Frosst, Papernot, Hinton
    (2019), arXiv 1902.01889, for the loss that is switched.

    >>> PairSwitching(weight=10.0)
    PairSwitching(weight=10.0, temperature=0.1)
    """

    weight: float
    temperature: float = 0.1

    def __post_init__(self) -> None:
        require_weight(weight=self.weight)
        if not 0.0 < self.temperature < float("inf"):
            raise InputError(f"temperature must be positive and finite, got {self.temperature}")

    def __call__(self, latents: Latents) -> Tensor:
        batch = latents.batch
        n = len(batch)
        if 1 < n == batch.num_groups:
            raise InputError(
                f"pair switching needs two observations of a group, but each of the minibatch's "
                f"{n} groups has one: take more observations of a group, or leave this penalty out"
            )
        loc = mean_of(latents.codes[1])
        if batch.num_groups == 1:
            return 0.0 * loc.sum()
        unit = normalize(loc, dim=-1)
        similarity = unit @ unit.mT / self.temperature
        same = batch.group[:, None] == batch.group[None, :]
        itself = torch.eye(n, dtype=torch.bool, device=loc.device)
        all_others = similarity.masked_fill(itself, -torch.inf).logsumexp(1)
        of_other_groups = similarity.masked_fill(same, -torch.inf).logsumexp(1)
        return self.weight * (all_others - of_other_groups).sum()
