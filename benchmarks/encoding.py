"""What encoding costs beyond the network: ``encode`` against calling the encoder on the same batches.

Run: python benchmarks/encoding.py
"""

import time
from collections.abc import Callable

import torch

from pyro_mlvae import ConvEncoder, MLPEncoder, ProductOfNormals
from pyro_mlvae.inference import BATCH_SIZE, encode, gather_evidence

COUNT, ROUNDS = 20_000, 9

x = torch.rand(COUNT, 1, 28, 28)


def seconds(function: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    """Print, for two encoders, the time of each way and its ratio to the bare network's."""
    for make in (MLPEncoder, ConvEncoder):
        encoder = make((1, 28, 28), 10, 10)
        guide = ProductOfNormals(encoder)

        @torch.no_grad()
        def bare(encoder: torch.nn.Module = encoder) -> None:
            for part in x.split(BATCH_SIZE):
                encoder(part)

        ways = {
            "bare network": bare,
            "encode": lambda guide=guide: encode(guide, x),
            "gather_evidence": lambda guide=guide: gather_evidence(guide, x),
        }
        # In turns, so that whatever else the machine does falls on all of them.
        times = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
        best = {name: sorted(t[name] for t in times)[ROUNDS // 2] for name in ways}
        for name, median in best.items():
            ratio = median / best["bare network"]
            print(f"{make.__name__:12} {name:16} {COUNT / median:9,.0f} a second  {ratio:.2f}x")


if __name__ == "__main__":
    main()
