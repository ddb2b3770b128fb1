"""A step of examples/from_scratch.py: what training costs in plain PyTorch, without the library.

A test shows that it computes what ``Objective`` computes, to rounding; so the ratio of their times
is the price of Pyro and of everything that the library checks.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from pyro_mlvae import GroupedBatch, MLPDecoder, MLPEncoder

FROM_SCRATCH = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "from_scratch.py"))
LOG_SCALE_BOUND: float = FROM_SCRATCH["LOG_SCALE_BOUND"]


def handwritten_step(
    encoder: nn.Module, decoder: nn.Module, learning_rate: float = 1e-3
) -> Callable[[GroupedBatch], float]:
    """A whole step: loss, gradient and the update by fused Adam, as in ``fit``.

    Args:
        encoder: an ``MLPEncoder``, whose weights are shared, not copied.
        decoder: an ``MLPDecoder``, likewise.
        learning_rate: Adam's.
    """
    assert isinstance(encoder, MLPEncoder)
    assert isinstance(decoder, MLPDecoder)
    model = FROM_SCRATCH["MLVAE"](encoder.layers, decoder.layers, *decoder.dims)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)

    def step(batch: GroupedBatch) -> float:
        loss = model(batch.x, batch.group, batch.num_groups)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
