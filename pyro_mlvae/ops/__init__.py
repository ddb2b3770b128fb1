"""Pure mathematics: the product of Normals, evidence that adds, a Normal by its log variance."""

from pyro_mlvae.ops.distributions import LogVarianceNormal
from pyro_mlvae.ops.evidence import Evidence
from pyro_mlvae.ops.normals import product_by_log_variance, product_of_normals, sum_by_group

__all__ = [
    "Evidence",
    "LogVarianceNormal",
    "product_by_log_variance",
    "product_of_normals",
    "sum_by_group",
]
