"""Generative models, one file a model."""

from pyro_mlvae.models.mixture_prior import MixturePriorMLVAE
from pyro_mlvae.models.mlvae import MLVAE
from pyro_mlvae.models.three_level import ThreeLevelMLVAE
from pyro_mlvae.models.vae import VAE

__all__ = [
    "MLVAE",
    "VAE",
    "MixturePriorMLVAE",
    "ThreeLevelMLVAE",
]
