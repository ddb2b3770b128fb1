"""Generative models, one file a model."""

from pyro_mlvae.models.linear_gaussian import LinearGaussianModel
from pyro_mlvae.models.mlvae import MLVAE
from pyro_mlvae.models.vae import VAE

__all__ = ["MLVAE", "VAE", "LinearGaussianModel"]
