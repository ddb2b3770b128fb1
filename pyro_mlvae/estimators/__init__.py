"""ELBO estimators, by name, and the importance weights of groups."""

from pyro_mlvae.estimators.group_weights import group_log_weights
from pyro_mlvae.estimators.names import ESTIMATORS, make_estimator

__all__ = ["ESTIMATORS", "group_log_weights", "make_estimator"]
