"""A run: as a value, as a folder, as a report; models and guides by name or from a file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_mlvae.runs.config import RunConfig
    from pyro_mlvae.runs.config_file import (
        CONFIG,
        FORMAT_VERSION,
        WEIGHTS,
        load_config,
        save_config,
        write_json,
    )
    from pyro_mlvae.runs.folder import (
        CHECKPOINT,
        FIGURES,
        HISTORY,
        METRICS,
        REPORT,
        VAE,
        Run,
        load_run,
        load_vae,
        prepare_folder,
        prepare_run_folder,
        save_weights,
    )

__all__ = [
    "CHECKPOINT",
    "CONFIG",
    "FIGURES",
    "FORMAT_VERSION",
    "HISTORY",
    "METRICS",
    "REPORT",
    "VAE",
    "WEIGHTS",
    "Run",
    "RunConfig",
    "load_config",
    "load_run",
    "load_vae",
    "prepare_folder",
    "prepare_run_folder",
    "save_config",
    "save_weights",
    "write_json",
]

# As in the package itself: the options of a run are here as well, and they need no PyTorch.
_NAMES = {
    "config": "RunConfig",
    "config_file": "CONFIG FORMAT_VERSION WEIGHTS load_config save_config write_json",
    "folder": """
        CHECKPOINT FIGURES HISTORY METRICS REPORT VAE Run load_run load_vae prepare_folder
        prepare_run_folder save_weights
    """,
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
