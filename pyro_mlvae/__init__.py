"""The Multi-Level VAE as a Pyro library.

Observations come in groups: what a group shares is its *content*, what each observation adds is
its *style*. Reference: Bouchacourt, Tomioka, Nowozin (2017), arXiv 1705.08841.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from pyro_mlvae.networks import (
        ConvDecoder,
        ConvEncoder,
        MLPDecoder,
        MLPEncoder,
        StyleGivenContent,
    )
    from pyro_mlvae.sklearn import MultiLevelVAE as MultiLevelVAE
    from pyro_mlvae.training import Objective, fit

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


# Public names by the module that has them, which is imported when it or one of its names is first
# used: the command line shows its help before PyTorch is imported, and scikit-learn is for the
# estimator's users.
_NAMES: dict[str, tuple[str, ...]] = {
    "checking": ("check",),
    "data": (
        "GroupedBatch",
        "GroupedDataset",
        "GroupSampler",
        "ObservationSampler",
        "load_dataset",
    ),
    "errors": ("InputError",),
    "estimators": ("make_estimator",),
    "guides": ("GroupedGuide", "ProductOfNormals", "VAEGuide"),
    "likelihoods": ("NormalLikelihood", "make_likelihood"),
    "models": ("MLVAE", "VAE"),
    "networks": ("ConvDecoder", "ConvEncoder", "MLPDecoder", "MLPEncoder", "StyleGivenContent"),
    "training": ("Objective", "fit"),
    "ops": (),
    "penalties": (),
    "files": (),
    "sklearn": ("MultiLevelVAE",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _NAMES:
            return import_module(f"{__name__}.{name}")
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_MODULES})
