"""Figures; every function returns a matplotlib figure and touches nothing global."""

# The backend first: without it, matplotlib may not load.
from pyro_mlvae.plotting import backend  # noqa: F401
from pyro_mlvae.plotting.comparison import (
    draw_comparison,
    equal_time_figure,
    signal_figure,
    tightness_figure,
    trade_off_figure,
)
from pyro_mlvae.plotting.curves import training_curves
from pyro_mlvae.plotting.images import reconstructions, swap_grid
from pyro_mlvae.plotting.looks import Look, look_of
from pyro_mlvae.plotting.maps import latent_map
from pyro_mlvae.plotting.metrics_figures import (
    evidence_figure,
    few_shot_figure,
    probe_figure,
)
from pyro_mlvae.plotting.operations import generation_figure, interpolation_figure, traversal_figure
from pyro_mlvae.plotting.posterior_figures import (
    activity_figure,
    k_hat_figure,
    sbc_figure,
    scale_figure,
    self_consistency_figure,
)
from pyro_mlvae.plotting.run_figures import draw_run, swap_figure
from pyro_mlvae.plotting.style import require_figure_path, save_figure

__all__ = [
    "Look",
    "activity_figure",
    "draw_comparison",
    "draw_run",
    "equal_time_figure",
    "evidence_figure",
    "few_shot_figure",
    "generation_figure",
    "interpolation_figure",
    "k_hat_figure",
    "latent_map",
    "look_of",
    "probe_figure",
    "reconstructions",
    "require_figure_path",
    "save_figure",
    "sbc_figure",
    "scale_figure",
    "self_consistency_figure",
    "signal_figure",
    "swap_figure",
    "swap_grid",
    "tightness_figure",
    "trade_off_figure",
    "training_curves",
    "traversal_figure",
]
