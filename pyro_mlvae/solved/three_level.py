r"""The model of three levels whose evidence is known exactly.

.. math::
    A_P &\sim N(0, 1 - \tau^2), \qquad C_G \sim N(A_P, \tau^2), \qquad S_i \sim N(0, I) \\
    x_i &= b + W C_G + V S_i + \sigma \epsilon_i, \qquad \epsilon_i \sim N(0, I)

Built on :class:`LinearGaussian`, in which what an observation says of one dimension of content does
not depend on the others. So content is integrated out dimension by dimension, first of groups, then
of super-groups, with one formula: for :math:`c \sim N(a, v)`

.. math:: \log E\big[e^{h c - J c^2 / 2}\big] = h' a - \tfrac{1}{2} J' a^2
    + \tfrac{1}{2} h h' v - \tfrac{1}{2} \log(1 + J v), \qquad (h', J') = \frac{(h, J)}{1 + J v}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.ops.normals import sum_by_group
from pyro_mlvae.solved.two_level import LinearGaussian


@dataclass(frozen=True, eq=False)
class ThreeLevelGaussian:
    """Parameters of the solved model of three levels.

    Attributes:
        two_level: what is the same as in the model of two levels.
        within_scale: tau, the scale of groups' contents around their super-group's,
            ``[content_dim]``, between 0 and 1.

    Use :meth:`orthogonal` or :meth:`correlated`.

    >>> solved = ThreeLevelGaussian.orthogonal()
    >>> batch = solved.sample(torch.tensor([1, 3, 2]), parent=torch.tensor([0, 0, 1]))
    >>> solved.log_evidence(batch).shape
    torch.Size([2])
    """

    two_level: LinearGaussian
    within_scale: Float[Tensor, " content"]

    def __post_init__(self) -> None:
        if not bool(((self.within_scale > 0.0) & (self.within_scale < 1.0)).all()):
            raise InputError(
                f"within_scale must lie between 0 and 1 in every dimension of content, got "
                f"{self.within_scale.tolist()}"
            )

    @classmethod
    def orthogonal(cls, **arguments: Any) -> ThreeLevelGaussian:
        """On :meth:`LinearGaussian.orthogonal`, with tau from 0.3 to 0.9 over the dimensions."""
        return cls._on(LinearGaussian.orthogonal(**arguments))

    @classmethod
    def correlated(cls, **arguments: Any) -> ThreeLevelGaussian:
        """On :meth:`LinearGaussian.correlated`, with tau from 0.3 to 0.9 over the dimensions."""
        return cls._on(LinearGaussian.correlated(**arguments))

    @classmethod
    def _on(cls, two_level: LinearGaussian) -> ThreeLevelGaussian:
        content_dim = two_level.content_loading.shape[1]
        return cls(two_level, torch.linspace(0.3, 0.9, content_dim).to(two_level.offset))

    def sample(self, sizes: Tensor, parent: Tensor, *, seed: int = 0) -> GroupedBatch:
        """Draw groups of the given sizes in the given super-groups from the model.

        Args:
            sizes: the size of each group, int64 ``[groups]``.
            parent: the super-group of each group, int64 ``[groups]``, each of 0..the largest
                occurring.
            seed: of the draws.
        """
        generator = torch.Generator().manual_seed(seed)
        num_parents = int(parent.max()) + 1
        group = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        two_level = self.two_level

        def noise(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, generator=generator, dtype=self.within_scale.dtype)

        content_dim, style_dim = len(self.within_scale), two_level.style_loading.shape[1]
        above = (1.0 - self.within_scale.square()).sqrt() * noise(num_parents, content_dim)
        content = above[parent] + self.within_scale * noise(len(sizes), content_dim)
        x = two_level.mean(content[group], noise(len(group), style_dim))
        x = x + two_level.noise_scale * noise(len(group), x.shape[-1])
        return GroupedBatch(x, group, len(sizes), parent, num_parents)

    def log_evidence(self, batch: GroupedBatch) -> Float[Tensor, " parents"]:
        r"""The exact :math:`\log p(X_P)` of each super-group, in nats."""
        given_zero, pull, precision = self.two_level.content_potential(batch)
        parent, num_parents = batch.super_groups(), batch.num_parents
        within = self.within_scale.square()
        of_groups, pull, precision = _integrate(pull, precision, within)
        of_groups = given_zero + of_groups
        pull = sum_by_group(pull, parent, num_parents)
        precision = sum_by_group(precision, parent, num_parents)
        of_parents, _, _ = _integrate(pull, precision, 1.0 - within)
        return sum_by_group(of_groups.unsqueeze(-1), parent, num_parents).squeeze(-1) + of_parents


def _integrate(pull: Tensor, precision: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The constant, h' and J' of the formula above, of each row."""
    spread = 1.0 + precision * variance
    passed_on = pull / spread
    constant = 0.5 * (pull * passed_on * variance - spread.log()).sum(-1)
    return constant, passed_on, precision / spread
