"""What an estimator adds to the time of a step: each against ``Trace_ELBO`` with one particle.

Run: python benchmarks/estimators.py [rounds]
"""

import sys
from statistics import median

import pyro
import torch

from pyro_mlvae import (
    MLVAE,
    BernoulliLikelihood,
    ConvDecoder,
    ConvEncoder,
    GroupedBatch,
    MLPDecoder,
    MLPEncoder,
    ProductOfNormals,
    make_estimator,
)
from pyro_mlvae.comparison.cost import step_times
from pyro_mlvae.estimators import ESTIMATORS

GROUPS, PER_GROUP = 16, 16
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 61
# What is asked of ours, as ratios.
ASKED = {"stl": 1.25, "dreg": 1.25, "group-iwae": 1.25, "local": 1.4}

group = torch.arange(GROUPS).repeat_interleave(PER_GROUP)
batch = GroupedBatch(torch.rand(len(group), 1, 28, 28), group, GROUPS)


def main() -> None:
    """Print, for two kinds of networks, the time of a step and its ratio to that of trace."""
    for make_encoder, make_decoder in ((MLPEncoder, MLPDecoder), (ConvEncoder, ConvDecoder)):
        torch.manual_seed(0)
        model = MLVAE(make_decoder((1, 28, 28), 10, 10), BernoulliLikelihood(), 10, 10)
        guide = ProductOfNormals(make_encoder((1, 28, 28), 10, 10))
        estimators = {name: make_estimator(name) for name in ESTIMATORS}
        with pyro.validation_enabled(False):
            times = step_times(estimators, model, guide, batch, rounds=ROUNDS)
        for name, took in times.items():
            # Round by round: what slows the machine down for a while slows both.
            ratio = median(own / base for own, base in zip(took, times["trace"], strict=True))
            asked = f"  asked: {ASKED[name]}x" if name in ASKED else ""
            print(f"{make_encoder.__name__:12}{name:12}{median(took):8.2f} ms  {ratio:.2f}x{asked}")


if __name__ == "__main__":
    main()
