"""The Multi-Level VAE as a Pyro library.

Observations come in groups: what a group shares is its *content*, what each observation adds is
its *style*. Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841.
"""

from typing import TYPE_CHECKING, Any

from pyro_mlvae.checking import check
from pyro_mlvae.data import (
    GroupedBatch,
    GroupedDataset,
    GroupSampler,
    ObservationSampler,
    load_dataset,
)
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.guides import GroupedGuide, ProductOfNormals, VAEGuide
from pyro_mlvae.likelihoods import NormalLikelihood, make_likelihood
from pyro_mlvae.models import MLVAE, VAE
from pyro_mlvae.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, StyleGivenContent
from pyro_mlvae.training import Objective, fit

if TYPE_CHECKING:
    from pyro_mlvae.sklearn import MultiLevelVAE as MultiLevelVAE

__version__ = "0.1.0"

__all__ = [
    "MLVAE",
    "VAE",
    "ConvDecoder",
    "ConvEncoder",
    "GroupSampler",
    "GroupedBatch",
    "GroupedDataset",
    "GroupedGuide",
    "InputError",
    "MLPDecoder",
    "MLPEncoder",
    "NormalLikelihood",
    "Objective",
    "ObservationSampler",
    "ProductOfNormals",
    "StyleGivenContent",
    "VAEGuide",
    "check",
    "fit",
    "load_dataset",
    "make_estimator",
    "make_likelihood",
]


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import, which only those who use the estimator should wait for.
    if name == "MultiLevelVAE":
        from pyro_mlvae.sklearn import MultiLevelVAE

        return MultiLevelVAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "MultiLevelVAE"]
