"""The Multi-Level VAE as a Pyro library.

Observations come in groups: what a group shares is its *content*, what each observation adds is
its *style*. Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841.
"""

from typing import TYPE_CHECKING, Any

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.checking import PairError, check
from pyro_mlvae.data import (
    GroupedDataset,
    GroupSampler,
    ObservationSampler,
    from_torchvision,
    load_dataset,
)
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.evidence import Evidence
from pyro_mlvae.guides import (
    AverageOfNormals,
    GroupedGuide,
    LinearGaussianGuide,
    ProductOfNormals,
    ThreeLevelGaussianGuide,
    ThreeLevelGuide,
    VAEGuide,
)
from pyro_mlvae.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    LearnedNormalLikelihood,
    Likelihood,
    NormalLikelihood,
    make_likelihood,
)
from pyro_mlvae.linear_gaussian import LinearGaussian
from pyro_mlvae.models import (
    MLVAE,
    VAE,
    LinearGaussianModel,
    MixturePriorMLVAE,
    ThreeLevelGaussianModel,
    ThreeLevelMLVAE,
)
from pyro_mlvae.networks import (
    ConvDecoder,
    ConvEncoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    StyleGivenContent,
)
from pyro_mlvae.normals import product_of_normals
from pyro_mlvae.three_level_gaussian import ThreeLevelGaussian
from pyro_mlvae.training import (
    Checkpoint,
    DivergedError,
    ElboTerms,
    EpochRecord,
    History,
    elbo_terms,
    fit,
)

if TYPE_CHECKING:
    from pyro_mlvae.multi_level_vae import MultiLevelVAE as MultiLevelVAE

__version__ = "0.1.0"

__all__ = [
    "MLVAE",
    "VAE",
    "AverageOfNormals",
    "BernoulliLikelihood",
    "Checkpoint",
    "ContinuousBernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "DivergedError",
    "ElboTerms",
    "EpochRecord",
    "Evidence",
    "GroupSampler",
    "GroupedBatch",
    "GroupedDataset",
    "GroupedGuide",
    "History",
    "InputError",
    "LearnedNormalLikelihood",
    "Likelihood",
    "LinearEncoder",
    "LinearGaussian",
    "LinearGaussianGuide",
    "LinearGaussianModel",
    "MLPDecoder",
    "MLPEncoder",
    "MixturePriorMLVAE",
    "NormalLikelihood",
    "ObservationSampler",
    "PairError",
    "ProductOfNormals",
    "StyleGivenContent",
    "ThreeLevelGaussian",
    "ThreeLevelGaussianGuide",
    "ThreeLevelGaussianModel",
    "ThreeLevelGuide",
    "ThreeLevelMLVAE",
    "VAEGuide",
    "check",
    "elbo_terms",
    "fit",
    "from_torchvision",
    "load_dataset",
    "make_estimator",
    "make_likelihood",
    "product_of_normals",
]


def __getattr__(name: str) -> Any:
    # scikit-learn takes a second to import, which only those who use the estimator should wait for; nor is
    # the name in __all__, so that `import *` does not wait for it either.
    if name == "MultiLevelVAE":
        from pyro_mlvae.multi_level_vae import MultiLevelVAE

        return MultiLevelVAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), "MultiLevelVAE"]
