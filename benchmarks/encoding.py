"""What encoding costs beyond the network: ``encode`` and ``gather_evidence`` against the bare encoder."""

from __future__ import annotations

from functools import partial

import torch
from cases import EVENT_SHAPE, observations
from results import Row, row
from timing import Turn, at_once, interleaved
from torch import Tensor, nn

from pyro_mlvae import ConvEncoder, MLPEncoder, ProductOfNormals
from pyro_mlvae.latents import encode, gather_evidence
from pyro_mlvae.latents.encoding import BATCH_SIZE


def encoding_rows(rounds: int, *, count: int = 8192) -> list[Row]:
    """The three of them on the same observations, for two kinds of networks."""
    x = observations(count)
    rows = []
    for make, kind in ((MLPEncoder, "MLP"), (ConvEncoder, "convolutions")):
        part = f"encoding {count:,} observations, {kind}"
        guide = ProductOfNormals(make(EVENT_SHAPE, 10, 10))
        cases: dict[str, list[Turn]] = {
            "bare network": [at_once(partial(bare, guide.encoder, x))],
            "encode": [at_once(partial(encode, guide, x))],
            "gather_evidence": [at_once(partial(gather_evidence, guide, x))],
        }
        times = interleaved(cases, rounds, label=part, warm_up=1)
        at = {"observations": count}
        rows += [row(part, name, times, "bare network", at=at) for name in cases]
    return rows


@torch.no_grad()
def bare(encoder: nn.Module, x: Tensor) -> None:
    """The network alone, on the same pieces of ``x``."""
    for part in x.split(BATCH_SIZE):
        encoder(part)
