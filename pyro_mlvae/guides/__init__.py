"""Guides, one file a guide."""

from pyro_mlvae.guides.adaptive import AdaGVAEGuide, AdaMLVAEGuide
from pyro_mlvae.guides.average_of_normals import AverageOfNormals
from pyro_mlvae.guides.base import GroupedGuide
from pyro_mlvae.guides.product_of_normals import ProductOfNormals
from pyro_mlvae.guides.three_level import ThreeLevelGuide
from pyro_mlvae.guides.vae import VAEGuide

__all__ = [
    "AdaGVAEGuide",
    "AdaMLVAEGuide",
    "AverageOfNormals",
    "GroupedGuide",
    "ProductOfNormals",
    "ThreeLevelGuide",
    "VAEGuide",
]
