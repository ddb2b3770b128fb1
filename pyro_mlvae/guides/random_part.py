r"""Content from a random part of its group's observations, in training.

.. math:: \log p(X_G) \geq E_{q(C \mid X_D)} \Big[ \log \frac{p(C)}{q(C \mid X_D)} +
    \sum_{i \in G} E_{q(S_i \mid x_i, C)} \log \frac{p(x_i, S_i \mid C)}{q(S_i \mid x_i, C)} \Big]
    \qquad \text{for any part } D \subseteq G

Content is inferred from k of a group's n observations, k uniform on 1 to n, and all n are
reconstructed: content must say what the others need, and is trained for evidence of every size. Any
distribution may stand for q in the ELBO, so this is an ELBO of the whole group for each part, and
for their mean.

Reference: Hewitt et al. (2018), "The variational homoencoder", arXiv 1807.08919, encodes such
parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pyro.distributions as dist
import torch
from jaxtyping import Bool
from pyro.distributions.distribution import Distribution
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from pyro.poutine.runtime import get_plates
from torch import Tensor

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.ops import LogVarianceNormal

EVIDENCE = ("whole", "random-part")


def random_part(groups: Groups) -> Bool[Tensor, " observations"]:
    """Which observations are in a random part of their group: k of n, with k uniform on 1 to n.

    >>> part = random_part(Groups(torch.tensor([0, 0, 0, 1]), num_groups=2))
    >>> bool(part[:3].any()), bool(part[3])
    (True, True)
    """
    group, device = groups.group, groups.group.device
    order = torch.rand(len(groups), device=device)
    least = order.new_ones(groups.num_groups).scatter_reduce(0, group, order, "amin")
    # One for certain, each of the others with a chance that is uniform: so is their number.
    chance = torch.rand(groups.num_groups, device=device).index_select(0, group)
    return (order == least.index_select(0, group)) | (
        torch.rand(len(groups), device=device) < chance
    )


def parted(features: Tensor, groups: Groups, part: Tensor) -> tuple[Tensor, Groups]:
    """The observations of ``part`` in their groups, and all the others in one more group, the last.

    No shape depends on the part, so that a step can be recorded. The first observation is there
    once more, in the last group, which therefore is never empty.
    """
    last, device = groups.num_groups, groups.group.device
    rows = torch.cat([torch.arange(len(groups), device=device), groups.group.new_zeros(1)])
    of = torch.cat([torch.arange(last, device=device), groups.group.new_zeros(1)])
    group = torch.cat([groups.group.masked_fill(~part, last), groups.group.new_full((1,), last)])
    parent = groups.parent
    if parent is not None:
        parent = torch.cat([parent, parent.new_full((1,), groups.num_parents)])

    def chosen(fields: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
        return {name: values.index_select(0, index) for name, values in fields.items()}

    return features.index_select(0, rows), Groups(
        group,
        last + 1,
        parent,
        groups.num_parents + (parent is not None),
        cast(Tensor, groups.group_id).index_select(0, of),
        chosen(groups.of_groups, of),
        chosen(groups.of_observations, rows),
    )


def without_last(posterior: Any) -> TorchDistributionMixin:
    """The distributions of all groups but the last: Normals as Normals, others as they are."""
    if isinstance(posterior, dist.Independent):
        if type(posterior.base_dist) in (dist.Normal, LogVarianceNormal):
            independent: Any = without_last(posterior.base_dist)
            return cast(
                TorchDistributionMixin, independent.to_event(posterior.reinterpreted_batch_ndims)
            )
    elif type(posterior) is dist.Normal:
        return dist.Normal(posterior.loc[:-1], posterior.scale[:-1])
    elif type(posterior) is LogVarianceNormal:
        return LogVarianceNormal(posterior.loc[:-1], posterior.log_variance[:-1])
    return _WithoutLast(posterior)


class _WithoutLast(TorchDistribution):
    """A distribution of vectors, batch shape ``[..., groups + 1]``, without its last group."""

    arg_constraints: Mapping[str, Any] = {}  # type: ignore[assignment]

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self.has_rsample = whole.has_rsample
        shape = torch.Size((*whole.batch_shape[:-1], whole.batch_shape[-1] - 1))
        super().__init__(shape, whole.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self._whole.support

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return cast(Tensor, self._whole.sample(sample_shape))[..., :-1, :]

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return cast(Tensor, self._whole.rsample(sample_shape))[..., :-1, :]

    def log_prob(self, value: Tensor) -> Tensor:
        anything = value[..., -1:, :]
        density: Tensor = self._whole.log_prob(torch.cat([value, anything], -2))
        return density[..., :-1]

    def expand(self, batch_shape: Any, _instance: Any = None) -> _WithoutLast:
        whole = self._whole.expand(torch.Size((*batch_shape[:-1], batch_shape[-1] + 1)))
        return _WithoutLast(whole)


class RandomPart(Distribution):
    """:func:`random_part` as what a site draws from, by Pyro's auxiliary sites: it has no density.

    An estimator that runs the guide again for the same draws gives it the same part.
    """

    # So that Pyro takes no score of the choice, which has no parameters.
    has_rsample = True

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        # The plates around it, which are those of particles, as Pyro wants to see them.
        plates = {frame.dim: frame.size for frame in get_plates() if frame.dim is not None}
        self._shape = [plates.get(dim, 1) for dim in range(min(plates, default=0), 0)]

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:
        """A part, bool ``[observations]``; particles share it."""
        return random_part(self._groups)

    def log_prob(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Zero."""
        return torch.zeros(self._shape, device=x.device)
