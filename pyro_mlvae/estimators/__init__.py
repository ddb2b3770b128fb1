"""ELBO estimators, one file each, and all of them by name."""

from pyro_mlvae.estimators.ciwae import GroupCIWAE
from pyro_mlvae.estimators.dreg import GroupDReG
from pyro_mlvae.estimators.group_renyi import GroupIWAE, GroupRenyiELBO
from pyro_mlvae.estimators.group_weights import group_log_weights
from pyro_mlvae.estimators.local import LocalELBO
from pyro_mlvae.estimators.miwae import GroupMIWAE
from pyro_mlvae.estimators.names import ESTIMATORS, make_estimator
from pyro_mlvae.estimators.nested import NestedIWAE, nested_bound
from pyro_mlvae.estimators.pathwise import PathwiseELBO
from pyro_mlvae.estimators.piwae import GroupPIWAE
from pyro_mlvae.estimators.reweighted_wake_sleep import GroupRWS
from pyro_mlvae.estimators.sticking_the_landing import StickingTheLanding
from pyro_mlvae.estimators.terms import ElboTerms

__all__ = [
    "ESTIMATORS",
    "ElboTerms",
    "GroupCIWAE",
    "GroupDReG",
    "GroupIWAE",
    "GroupMIWAE",
    "GroupPIWAE",
    "GroupRWS",
    "GroupRenyiELBO",
    "LocalELBO",
    "NestedIWAE",
    "PathwiseELBO",
    "StickingTheLanding",
    "group_log_weights",
    "make_estimator",
    "nested_bound",
]
