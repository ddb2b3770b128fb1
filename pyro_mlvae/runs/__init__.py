"""A run: as a value, as a folder, as a report; models and guides by name or from a file."""

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
