"""Training: ``fit``, its history, and the terms of the ELBO."""

from pyro_mlvae.training.checkpoint import Checkpoint
from pyro_mlvae.training.fit import DivergedError, fit
from pyro_mlvae.training.history import EpochRecord, History
from pyro_mlvae.training.terms import ElboTerms, elbo_terms

__all__ = ["Checkpoint", "DivergedError", "ElboTerms", "EpochRecord", "History", "elbo_terms", "fit"]
