"""Pure mathematics: the product of Normals, evidence that adds, moments of any distribution."""

from pyro_mlvae.ops.distributions import (
    loc_and_log_variance,
    mean_of,
    moments,
    normal_from_parameters,
    unbounded,
)
from pyro_mlvae.ops.evidence import Evidence
from pyro_mlvae.ops.log_variance import LogVarianceNormal
from pyro_mlvae.ops.normals import product_by_log_variance, product_of_normals, sum_by_group

__all__ = [
    "Evidence",
    "LogVarianceNormal",
    "loc_and_log_variance",
    "mean_of",
    "moments",
    "normal_from_parameters",
    "product_by_log_variance",
    "product_of_normals",
    "sum_by_group",
    "unbounded",
]
