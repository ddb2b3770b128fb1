r"""Evidence about the content of groups, as a value that adds.

In natural parameters a product of Normals is a sum: what is known about a group's content can be
accumulated one observation, one file or one machine at a time, in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from jaxtyping import Float64, Int64
from torch import Tensor

from pyro_mlvae.errors import InputError
from pyro_mlvae.ops.normals import sum_by_group

if TYPE_CHECKING:
    from torch.distributions import Normal


@dataclass(frozen=True)
class Evidence:
    r"""Natural parameters of the content of ``groups`` groups, in float64.

    Attributes:
        precision: :math:`\sum_i \sigma_i^{-2}`, shape ``[groups, content]``.
        precision_loc: :math:`\sum_i \sigma_i^{-2} \mu_i`, shape ``[groups, content]``.
        count: the number of observations seen of each group, shape ``[groups]``.

    Natural parameters of any float32 Normal fit into float64, and a million additions keep eleven
    digits, which float32 would not.

    >>> from torch.distributions import Normal
    >>> first = Evidence.from_normals(Normal(torch.tensor([[0.0]]), torch.tensor([[1.0]])))
    >>> second = Evidence.from_normals(Normal(torch.tensor([[2.0]]), torch.tensor([[1.0]])))
    >>> (first + second).posterior().mean
    tensor([[1.]], dtype=torch.float64)
    """

    precision: Float64[Tensor, "groups content"]
    precision_loc: Float64[Tensor, "groups content"]
    count: Int64[Tensor, " groups"]

    @classmethod
    def none(
        cls, num_groups: int, content_dim: int, device: torch.device | str | None = None
    ) -> Evidence:
        """No evidence yet: the neutral element of ``+``."""
        zero = torch.zeros(num_groups, content_dim, dtype=torch.float64, device=device)
        return cls(zero, zero, torch.zeros(num_groups, dtype=torch.int64, device=device))

    @classmethod
    def from_normals(
        cls, normals: Normal, group: Tensor | None = None, num_groups: int = 1
    ) -> Evidence:
        """The evidence that observations give, one Normal each.

        Args:
            normals: each observation's Normal over content, batch shape ``[N, content]``.
            group: index of each observation's group, shape ``[N]``; all in group 0 by default.
            num_groups: the number of groups.
        """
        loc, scale = normals.loc.detach().double(), normals.scale.detach().double()
        if group is None:
            group = torch.zeros(len(loc), dtype=torch.int64, device=loc.device)
        precision = scale.pow(-2)
        return cls(
            sum_by_group(precision, group, num_groups),
            sum_by_group(precision * loc, group, num_groups),
            torch.bincount(group, minlength=num_groups),
        )

    def __add__(self, other: Evidence) -> Evidence:
        if self.precision.shape != other.precision.shape:
            raise InputError(
                f"evidence adds group by group: expected the same [groups, content] on both sides, "
                f"got {list(self.precision.shape)} and {list(other.precision.shape)}; start both "
                f"from the same num_groups"
            )
        return Evidence(
            self.precision + other.precision,
            self.precision_loc + other.precision_loc,
            self.count + other.count,
        )

    def all_reduce(self, process_group: dist.ProcessGroup | None = None) -> Evidence:
        """The sum of what every process of a job has gathered, each of its own observations.

        Args:
            process_group: those processes, all of which call this; by default all there are.
        """
        count = self.count.clone()
        parameters = torch.stack([self.precision, self.precision_loc])
        for own in (parameters, count):
            dist.all_reduce(own, group=process_group)
        precision, precision_loc = parameters.unbind()
        return Evidence(precision, precision_loc, count)

    def posterior(self, prior: Normal | None = None) -> Normal:
        """The Normal over each group's content, batch shape ``[groups, content]``, in float64.

        Args:
            prior: one more Normal in every group's product, as for a guide with a prior expert.

        Raises:
            InputError: a group has no evidence, and there is no prior to fall back on.
        """
        precision, precision_loc = self.precision, self.precision_loc
        if prior is not None:
            prior_precision = prior.scale.double().pow(-2)
            precision = precision + prior_precision
            precision_loc = precision_loc + prior_precision * prior.loc.double()
        elif (self.count == 0).any():
            empty = (self.count == 0).nonzero().flatten().tolist()
            raise InputError(
                f"the content of {len(empty)} group(s) was asked for without any evidence (the "
                f"first is group {empty[0]}): add an observation, or pass prior="
            )
        return torch.distributions.Normal(precision_loc / precision, precision.rsqrt())
