"""Additions to the objective, one file each; the ELBO that is reported is without them."""

from pyro_mlvae.penalties.aggregate_style import AggregateStyle
from pyro_mlvae.penalties.base import Latents, Penalty
from pyro_mlvae.penalties.hsic import HSIC
from pyro_mlvae.penalties.pair_switching import PairSwitching
from pyro_mlvae.penalties.style_cycle import StyleCycle
from pyro_mlvae.penalties.target_kl import TargetKL
from pyro_mlvae.penalties.weighted_kl import WeightedKL

__all__ = [
    "HSIC",
    "AggregateStyle",
    "Latents",
    "PairSwitching",
    "Penalty",
    "StyleCycle",
    "TargetKL",
    "WeightedKL",
]
