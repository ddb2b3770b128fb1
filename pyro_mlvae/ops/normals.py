r"""The product of Normals over the members of a group, as a pure function.

.. math:: \prod_{i \in G} N(c; \mu_i, \sigma_i^2) \propto N(c; \mu_G, \sigma_G^2), \qquad
    \sigma_G^{-2} = \sum_i \sigma_i^{-2}, \quad \mu_G = \sigma_G^2 \sum_i \sigma_i^{-2} \mu_i

Groups are ragged and flat: member ``i`` belongs to group ``group[i]``, nothing is padded, and the
cost is linear in the number of members whatever the sizes of the groups.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def sum_by_group(
    values: Float[Tensor, "*batch members dim"], group: Int64[Tensor, " members"], num_groups: int
) -> Float[Tensor, "*batch groups dim"]:
    """Sum ``values`` over the members of each group; a group without members sums to zero.

    >>> sum_by_group(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 0, 1]), 2)
    tensor([[2.],
            [5.]])
    """
    total = values.new_zeros(*values.shape[:-2], num_groups, values.shape[-1])
    return total.index_add(-2, group, values)


def product_of_normals(
    loc: Float[Tensor, "*batch members dim"],
    scale: Float[Tensor, "*batch members dim"],
    group: Int64[Tensor, " members"],
    num_groups: int,
    *,
    prior: tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]] | None = None,
) -> tuple[Float[Tensor, "*batch groups dim"], Float[Tensor, "*batch groups dim"]]:
    """Multiply the Normals of each group's members and normalise.

    Args:
        loc: location of each member's Normal.
        scale: standard deviation of each member's Normal, positive.
        group: index of each member's group, in ``0..num_groups - 1``.
        num_groups: the number of groups; each must have a member, or a ``prior``.
        prior: ``(loc, scale)`` of one more Normal that takes part in every group's product. The
            default, none, is the paper's; with the model's own content prior here, the product can
            be the exact posterior.

    Returns:
        ``(loc, scale)`` of each group's product.

    The weights of the members are formed relative to the most precise member of their group, so
    no precision is ever exponentiated by itself: scales from 1e-6 to 1e6 side by side keep full
    float32 accuracy, in the values and in the gradients.

    Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841, section 3.

    >>> loc, scale = torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([[1.0], [1.0], [3.0]])
    >>> product_of_normals(loc, scale, torch.tensor([0, 0, 1]), 2)
    (tensor([[1.],
            [5.]]), tensor([[0.7071],
            [3.0000]]))
    """
    loc, scale = torch.broadcast_tensors(loc, scale)
    dtype = torch.promote_types(loc.dtype, scale.dtype)
    loc, scale = loc.to(dtype), scale.to(dtype)
    if prior is not None:
        prior = (prior[0], 2.0 * prior[1].log())
    product_loc, log_variance = product_by_log_variance(
        loc, 2.0 * scale.log(), group, num_groups, prior=prior
    )
    return product_loc, (0.5 * log_variance).exp()


def product_by_log_variance(
    loc: Float[Tensor, "*batch members dim"],
    log_variance: Float[Tensor, "*batch members dim"],
    group: Int64[Tensor, " members"],
    num_groups: int,
    *,
    prior: tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]] | None = None,
) -> tuple[Float[Tensor, "*batch groups dim"], Float[Tensor, "*batch groups dim"]]:
    """:func:`product_of_normals` by logs of variances instead of scales, throughout.

    >>> loc, group = torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0])
    >>> product_by_log_variance(loc, torch.zeros(2, 1), group, 1)
    (tensor([[1.]]), tensor([[-0.6931]]))
    """
    if prior is not None:
        shape = (*loc.shape[:-2], num_groups, loc.shape[-1])
        loc = torch.cat([loc, prior[0].expand(shape)], -2)
        log_variance = torch.cat([log_variance, prior[1].expand(shape)], -2)
        group = torch.cat([group, torch.arange(num_groups, device=group.device)])
    smallest, centre = _references(loc.detach(), log_variance.detach(), group, num_groups)
    # Relative to the most precise member: so no precision is ever exponentiated by itself.
    weight = (smallest.index_select(-2, group) - log_variance).exp()
    away = loc - centre.index_select(-2, group)
    sums = sum_by_group(torch.cat([weight, weight * away], -1), group, num_groups)
    total, moment = sums.chunk(2, -1)
    return centre + moment / total, smallest - total.log()


def _references(
    loc: Tensor, log_variance: Tensor, group: Tensor, num_groups: int
) -> tuple[Tensor, Tensor]:
    """Log variance and loc of each group's most precise member, to which others are relative.

    It moves the product's loc only by the others' distances from it, which float32 would lose next
    to the locs themselves.
    """
    members = group.unsqueeze(-1).expand_as(loc)
    none = loc.new_full((*loc.shape[:-2], num_groups, loc.shape[-1]), torch.inf)
    smallest = none.scatter_reduce(-2, members, log_variance, "amin")
    candidates = loc.masked_fill(log_variance != smallest.index_select(-2, group), -torch.inf)
    return smallest, (-none).scatter_reduce(-2, members, candidates, "amax")
