"""Training: ``fit``, its history, and the terms of the ELBO."""

from pyro_mlvae.training.capture import Captured
from pyro_mlvae.training.checkpoint import Checkpoint
from pyro_mlvae.training.fit import fit
from pyro_mlvae.training.gradients import DivergedError
from pyro_mlvae.training.history import EpochRecord, History
from pyro_mlvae.training.objective import Objective
from pyro_mlvae.training.optimizer import JointOptim, fused_adam
from pyro_mlvae.training.terms import elbo_terms

__all__ = [
    "Captured",
    "Checkpoint",
    "DivergedError",
    "EpochRecord",
    "History",
    "JointOptim",
    "Objective",
    "elbo_terms",
    "fit",
    "fused_adam",
]
