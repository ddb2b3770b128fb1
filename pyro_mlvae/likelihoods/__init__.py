"""Likelihoods: from the decoder's outputs to the distribution of x."""

from pyro_mlvae.likelihoods.base import Likelihood
from pyro_mlvae.likelihoods.bernoulli import BernoulliLikelihood, ContinuousBernoulliLikelihood
from pyro_mlvae.likelihoods.counts import CountsLikelihood
from pyro_mlvae.likelihoods.names import (
    LIKELIHOODS,
    check_likelihood,
    choose_likelihood,
    make_likelihood,
)
from pyro_mlvae.likelihoods.normal import (
    FeatureNormalLikelihood,
    LearnedNormalLikelihood,
    NormalLikelihood,
)
from pyro_mlvae.likelihoods.scaled import ObservedLikelihood, ScaledLikelihood

__all__ = [
    "LIKELIHOODS",
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "CountsLikelihood",
    "FeatureNormalLikelihood",
    "LearnedNormalLikelihood",
    "Likelihood",
    "NormalLikelihood",
    "ObservedLikelihood",
    "ScaledLikelihood",
    "check_likelihood",
    "choose_likelihood",
    "make_likelihood",
]
