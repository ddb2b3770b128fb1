"""Guides, one file a guide."""

from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.guides.linear_gaussian import LinearGaussianGuide
from pyro_mlvae.guides.product_of_normals import ProductOfNormals
from pyro_mlvae.guides.vae import VAEGuide

__all__ = ["GroupedGuide", "LinearGaussianGuide", "ProductOfNormals", "VAEGuide"]
