"""Figures; every function returns a matplotlib figure and touches nothing global."""

from pyro_mlvae.plotting.curves import evidence_curve, training_curves
from pyro_mlvae.plotting.images import reconstructions, swap_grid
from pyro_mlvae.plotting.maps import latent_map
from pyro_mlvae.plotting.run_figures import draw_run, swap_figure
from pyro_mlvae.plotting.style import save_figure

__all__ = [
    "draw_run",
    "evidence_curve",
    "latent_map",
    "reconstructions",
    "save_figure",
    "swap_figure",
    "swap_grid",
    "training_curves",
]
