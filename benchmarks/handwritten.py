"""The paper's model, objective and optimiser in plain PyTorch: what a step would cost without the library.

What it computes is what ``Objective`` computes, to rounding, which a test shows; so the ratio of their
times is the price of Pyro and of everything that the library checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_mlvae import GroupedBatch, MLPDecoder, MLPEncoder

LOG_SCALE_BOUND = 7.0


class HandWritten(nn.Module):
    """The negative mean ELBO of a group, with the weights of the library's networks::

        C_G ~ N(0, I)    S_i ~ N(0, I)    x_i ~ N(loc(C_G, S_i), exp(tanh(raw(C_G, S_i))))
        q(C_G | X_G) ∝ prod_{i in G} N(C; loc_c(x_i), scale_c(x_i))    q(S_i | x_i) = N(loc_s, scale_s)

    Args:
        encoder: an ``MLPEncoder``, whose weights are shared, not copied.
        decoder: an ``MLPDecoder``, likewise.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        assert isinstance(encoder, MLPEncoder)
        assert isinstance(decoder, MLPDecoder)
        self.encoder, self.decoder = encoder.layers, decoder.layers
        self.content_dim, self.style_dim = decoder.dims

    def forward(
        self,
        x: Tensor,
        group: Tensor,
        num_groups: int,
        content_noise: Tensor | None = None,
        style_noise: Tensor | None = None,
    ) -> Tensor:
        """The loss of one minibatch, every term by one draw.

        Args:
            x: observations, ``[N, *event_shape]``.
            group: the group of each, int64 ``[N]``.
            num_groups: how many there are.
            content_noise: standard normal, ``[num_groups, content]``; drawn by default.
            style_noise: standard normal, ``[N, style]``; drawn by default.
        """
        x = x.flatten(1)
        sizes = [self.content_dim, self.content_dim, self.style_dim, self.style_dim]
        expert_loc, expert_raw, style_loc, style_raw = self.encoder(x).split(sizes, -1)

        # The product of a group's Normals: precisions add.
        precision = torch.exp(-2.0 * bounded(expert_raw))
        none = x.new_zeros(num_groups, self.content_dim)
        total = none.index_add(0, group, precision)
        content_loc = none.index_add(0, group, precision * expert_loc) / total
        content, content_kl = draw(content_loc, -0.5 * total.log(), content_noise)
        style, style_kl = draw(style_loc, bounded(style_raw), style_noise)

        latents = torch.cat([content.index_select(0, group), style], 1)
        loc, raw = self.decoder(latents).chunk(2, -1)
        log_variance = torch.tanh(raw)
        squares = (x - loc).square() * torch.exp(-log_variance)
        reconstruction = -0.5 * (squares.sum() + log_variance.sum() + x.numel() * math.log(2.0 * math.pi))
        return (content_kl + style_kl - reconstruction) / num_groups


def bounded(raw: Tensor) -> Tensor:
    """A log scale that stays within e^-7 and e^7."""
    return LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)


def draw(loc: Tensor, log_scale: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """A draw of N(loc, scale), and log q - log p of it under the standard normal prior, summed."""
    noise = torch.randn_like(loc) if noise is None else noise
    drawn = loc + log_scale.exp() * noise
    # The constants of both densities cancel.
    return drawn, (0.5 * (drawn.square() - noise.square()) - log_scale).sum()


def handwritten_step(model: HandWritten, learning_rate: float = 1e-3) -> Callable[[GroupedBatch], float]:
    """A whole step: loss, gradient and the update by fused Adam, which is what ``fit`` trains with too."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)

    def step(batch: GroupedBatch) -> float:
        loss = model(batch.x, batch.group, batch.num_groups)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
