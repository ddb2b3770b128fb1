"""Models whose truth is known: linear and Gaussian, of two and three levels, and a mixture."""

from pyro_mlvae.solved.bounds import exact_elbo, exact_eubo
from pyro_mlvae.solved.guides import (
    LinearEncoder,
    LinearGaussianGuide,
    LinearShift,
    ThreeLevelGaussianGuide,
)
from pyro_mlvae.solved.mixture import PolynomialMixture, PolynomialMixtureModel
from pyro_mlvae.solved.models import LinearDecoder, LinearGaussianModel, ThreeLevelGaussianModel
from pyro_mlvae.solved.three_level import ThreeLevelGaussian
from pyro_mlvae.solved.two_level import LinearGaussian

__all__ = [
    "LinearDecoder",
    "LinearEncoder",
    "LinearGaussian",
    "LinearGaussianGuide",
    "LinearGaussianModel",
    "LinearShift",
    "PolynomialMixture",
    "PolynomialMixtureModel",
    "ThreeLevelGaussian",
    "ThreeLevelGaussianGuide",
    "ThreeLevelGaussianModel",
    "exact_elbo",
    "exact_eubo",
]
