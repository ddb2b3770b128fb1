r"""Standard errors of means over things that share observations, so that none counts as many.

Of groups of k observations, regrouped many times, only the observations are independent. To first
order (Hoeffding 1948) the mean over groups varies as k times that over observations,

.. math:: \mathrm{se}^2 = \frac{k^2}{n} \operatorname{Var}_i\big[ E[h(x_i, \ldots)] \big],

with the expectation over the groups that observation i took part in. A mean over finitely many of
them makes it a little too large, never too small.

Of swaps every content and every style stands in many: clusters of both kinds (Cameron, Gelbach,
Miller 2011),

.. math:: \mathrm{se}^2 = V_\mathrm{content} + V_\mathrm{style} - V_\mathrm{swap},

each the sum of squares of the deviations' sums in a cluster, over the square of their number.
"""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor


def of_groups(
    value: Float[Tensor, " groups"],
    index: Int64[Tensor, " members"],
    group: Int64[Tensor, " members"],
) -> float:
    """The standard error of the mean of ``value`` over groups of equally many observations.

    Args:
        value: one a group.
        index: which observation each member is; one may be in many groups.
        group: which group it is in.

    >>> import torch
    >>> value, each = torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.arange(4)
    >>> of_groups(value, each, each) == (0.75 * 0.25 / 4) ** 0.5
    True
    """
    size = len(index) / len(value)
    count = index.bincount()
    total = value.new_zeros(len(count)).double().index_add(0, index, value.double()[group])
    mean = (total / count)[count > 0]
    return size * float(mean.std(correction=0)) / len(mean) ** 0.5


def of_pairs(
    value: Float[Tensor, " pairs"], one: Int64[Tensor, " pairs"], other: Int64[Tensor, " pairs"]
) -> float:
    """The standard error of the mean of ``value`` over pairs, each of one thing and another.

    Args:
        value: one a pair.
        one: the first of each pair, by number.
        other: the second of each pair.

    >>> import torch
    >>> value, same = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1])
    >>> round(of_pairs(value, same, torch.arange(4)), 4)  # 0.5 / sqrt(2): of two, not of four
    0.3536
    """
    deviation = value.double() - value.double().mean()

    def clustered(number: Tensor) -> Tensor:
        sums = deviation.new_zeros(int(number.max()) + 1).index_add(0, number, deviation)
        return sums.square().sum()

    alone = deviation.square().sum()
    # Estimates of both clusters may fall short of what pairs that share nothing would have.
    variance = (clustered(one) + clustered(other) - alone).clamp_min(alone)
    return float(variance.sqrt()) / len(value)
