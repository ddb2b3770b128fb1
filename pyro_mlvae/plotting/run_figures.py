"""The figures of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.inference import device_of, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.operations import decode, swap
from pyro_mlvae.plotting.curves import evidence_curve, training_curves
from pyro_mlvae.plotting.images import first_of_each_group, reconstructions, swap_grid
from pyro_mlvae.plotting.maps import latent_map
from pyro_mlvae.plotting.style import save_figure
from pyro_mlvae.training import History


def draw_run(
    folder: Path,
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    history: History,
    metrics: Mapping[str, Any],
) -> list[Path]:
    """Draw every figure of a run into ``folder`` and return their paths."""
    codes = encode(guide, test)
    figures = {
        "training": training_curves(history, metrics["elbo"]["units"]),
        "swap": swap_figure(model, guide, test),
        "swap-evidence": swap_figure(model, guide, test, accumulate=True),
        "reconstructions": reconstruction_figure(model, guide, test),
        "evidence": evidence_curve(metrics["evidence"]["k"], metrics["evidence"]["content_scale"]),
        "latents": latent_map(codes.content.loc, codes.style.loc, test.label, test.label_names),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths


def swap_figure(
    model: MLVAE, guide: GroupedGuide, data: GroupedDataset, *, accumulate: bool = False, seed: int = 0
) -> Figure:
    """Contents of up to ten groups, in the styles of as many observations of any group.

    Args:
        model: the trained model.
        guide: its trained guide.
        data: observations to choose from.
        accumulate: whether content is inferred from all of a group's observations together, or from
            the one that is shown.
        seed: of the choice of styles.
    """
    rows = first_of_each_group(data.group)
    others = torch.ones(len(data), dtype=torch.bool).index_fill(0, rows, value=False).nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    columns = others[torch.randperm(len(others), generator=generator)[: len(rows)]]
    own, of_group = content_locs(guide, data, rows)
    style = encode(guide, data.observations(columns)).style.loc
    grid = swap(model, of_group if accumulate else own, style)
    source = "all held-out observations of a group" if accumulate else "one observation"
    return swap_grid(
        data.observations(rows),
        data.observations(columns),
        grid,
        title=f"Content of the row, from {source}",
    )


def reconstruction_figure(model: MLVAE, guide: GroupedGuide, data: GroupedDataset) -> Figure:
    """One observation of each of up to ten groups, from its own content and from its group's."""
    chosen = first_of_each_group(data.group)
    x = data.observations(chosen)
    style = encode(guide, x).style.loc
    own, of_group = content_locs(guide, data, chosen)
    return reconstructions(x, decode(model, own, style), decode(model, of_group, style))


def content_locs(guide: GroupedGuide, data: GroupedDataset, index: Tensor) -> tuple[Tensor, Tensor]:
    """Locs of content of the observations at ``index``: each from itself, and from all of its group."""
    codes = encode(guide, data)
    _, group = torch.unique(data.group, return_inverse=True)
    everything = torch.arange(len(data))
    of_groups = group_content(guide, codes.expert, data, everything, group)
    device = device_of(guide)
    return codes.content.loc[index.to(device)], of_groups.loc[group[index].to(device)]
