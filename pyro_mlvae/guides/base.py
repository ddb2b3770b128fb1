"""The base of every guide: sites and plates, once; a guide fills in how a group is aggregated."""

from __future__ import annotations

import pyro
import torch
from jaxtyping import Float
from pyro import distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch


class GroupedGuide(PyroModule):
    """The variational family of the Multi-Level VAE, but for how a group's content is aggregated::

        q(C_G | X_G) = aggregate over i in G of N(C; loc_c(x_i), scale_c(x_i))     site "content"
        q(S_i | x_i) = N(S; loc_s(x_i), scale_s(x_i))                              site "style"

    Args:
        encoder: from ``x [N, *event_shape]`` to ``(content, style)``, the Normals that single
            observations give, of batch shapes ``[N, content]`` and ``[N, style]``.
        style_given_content: makes it q(S_i | x_i, C_G), such as :class:`StyleGivenContent`: from the
            encoder's Normal and ``content [..., N, content]`` to the Normal of style.

    A subclass defines :meth:`aggregate`; one with more latents than these overrides
    :meth:`draw_content` as well.
    """

    def __init__(self, encoder: nn.Module, *, style_given_content: nn.Module | None = None) -> None:
        # The name keeps the guide's parameters apart from the model's in Pyro's parameter store.
        super().__init__(name="guide")
        self.encoder = encoder
        self.style_given_content = style_given_content

    def aggregate(self, content: dist.Normal, batch: GroupedBatch) -> dist.Normal:
        """From the Normals of single observations to one Normal a group.

        Args:
            content: one Normal an observation, batch shape ``[N, content]``.
            batch: for its ``group``, ``num_groups`` and ``sizes``; at test time, when observations are
                encoded already, its ``x`` are their codes.

        Returns:
            One Normal a group, batch shape ``[num_groups, content]``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define aggregate(content, batch)")

    def style_posterior(
        self, style: dist.Normal, content: Float[Tensor, "*particles observations content"]
    ) -> dist.Normal:
        """q(S_i | x_i, C_G), batch shape ``[..., N, style]``; without a network for it, q(S_i | x_i).

        Args:
            style: what the encoder says of each observation's style.
            content: the content of each observation's group.
        """
        return style if self.style_given_content is None else self.style_given_content(style, content)

    def content_posterior(self, batch: GroupedBatch) -> dist.Normal:
        """q(C_G | X_G), batch shape ``[num_groups, content]``."""
        content, _ = self.encoder(batch.x)
        return self.aggregate(content, batch)

    def codes(self, x: Float[Tensor, "observations ..."]) -> tuple[dist.Normal, dist.Normal]:
        """``(content, style)`` of single observations, each taken as a group of its own.

        Where style depends on content, content is the loc of q(C | x_i): that of the observation's
        group would carry into style what the other observations say.
        """
        return self.codes_from(x, *self.encoder(x))

    def codes_from(
        self, x: Float[Tensor, "observations ..."], content: dist.Normal, style: dist.Normal
    ) -> tuple[dist.Normal, dist.Normal]:
        """:meth:`codes`, from what the encoder has already said of ``x``."""
        n = len(x)
        alone = GroupedBatch.trusted(x, torch.arange(n, device=x.device), n)
        content = self.aggregate(content, alone)
        return content, self.style_posterior(style, content.loc)

    def draw_content(
        self, content: dist.Normal, batch: GroupedBatch
    ) -> Float[Tensor, "*particles groups content"]:
        """Draw the content of every group of ``batch``, in Pyro.

        Args:
            content: what the encoder says of content, one Normal an observation.
            batch: the groups.
        """
        with pyro.plate("groups", batch.num_groups, dim=-1):
            drawn: Tensor = pyro.sample("content", self.aggregate(content, batch).to_event(1))
        return drawn

    def forward(self, batch: GroupedBatch) -> None:
        """Draw content and style of ``batch`` from the posterior, in Pyro."""
        content_normal, style_normal = self.encoder(batch.x)
        content = self.draw_content(content_normal, batch)
        with pyro.plate("observations", len(batch), dim=-1):
            own_content = content.index_select(-2, batch.group)
            style = self.style_posterior(style_normal, own_content)
            pyro.sample("style", style.to_event(1))
