"""The figures of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.decoding import decode, generate, interpolate, swap, traverse
from pyro_mlvae.latents.encoding import Codes, device_of, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of
from pyro_mlvae.plotting.curves import training_curves
from pyro_mlvae.plotting.images import first_of_each_group, reconstructions, swap_grid
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
    self_consistency_figure,
)
from pyro_mlvae.plotting.style import save_figure
from pyro_mlvae.training import History


@torch.no_grad()
def draw_run(
    folder: Path,
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    metrics: Mapping[str, Any],
    *,
    history: History,
    vae: tuple[MLVAE, GroupedGuide] | None = None,
) -> list[Path]:
    """Draw every figure of a run into ``folder`` and return their paths.

    Args:
        folder: where they go.
        model: the trained model.
        guide: its trained guide.
        test: held-out observations.
        metrics: what was measured on them; what is None there is not drawn.
        history: of the training.
        vae: the plain VAE with its guide, whose swaps are drawn beside the model's.
    """
    codes = encode(guide, test)
    figures = {
        "training": training_curves(history, metrics["elbo"]["units"]),
        "swap": swap_figure(model, guide, test),
        "swap-evidence": swap_figure(model, guide, test, accumulate=True),
        "reconstructions": reconstruction_figure(model, guide, test),
        "evidence": evidence_figure(metrics["probe"], metrics["evidence"]),
        "latents": latent_map(mean_of(codes.content), mean_of(codes.style), test.label, test.label_names),
        "generation": generation_figure(generate(model, groups=_single_groups(test, 8))),
        **_walks(model, codes, test),
    }
    if vae is not None:
        figures["swap-vae"] = swap_figure(*vae, test, of="a plain VAE")
        figures["swap-vae-evidence"] = swap_figure(*vae, test, accumulate=True, of="a plain VAE")
    for part, name, draw in (
        ("probe", "probes", probe_figure),
        ("active_units", "active-units", activity_figure),
        ("unseen", "unseen", few_shot_figure),
    ):
        if metrics[part] is not None:
            figures[name] = draw(metrics[part])
    for part, name, draw_part in (
        ("calibration", "self-consistency", self_consistency_figure),
        ("simulation_based", "simulation-based-calibration", sbc_figure),
        ("k_hat", "k-hat", k_hat_figure),
    ):
        if metrics["diagnostics"][part] is not None:
            figures[name] = draw_part(metrics["diagnostics"][part])
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1])
    return paths


def _single_groups(data: GroupedDataset, count: int) -> Groups:
    """Groups of one observation each, with the fields of ``data``'s, for priors that depend on them."""
    first = first_of_each_group(data.group, count)
    number = torch.arange(count)
    return data.groups(first[number % len(first)], number)


def _walks(model: MLVAE, codes: Codes, test: GroupedDataset) -> dict[str, Figure]:
    """From one held-out observation to one of another group, and along each dimension of the first."""
    ends = first_of_each_group(test.group, 2)
    if len(ends) < 2:
        return {}
    x, place = test.observations(ends), ends.to(codes.features.device)
    content, style = mean_of(codes.content)[place], mean_of(codes.style)[place]
    values = torch.linspace(-3.0, 3.0, 9)
    figures = {"interpolation": interpolation_figure(x, x, interpolate(model, content, style))}
    for which in ("content", "style"):
        walk = traverse(model, content[0], style[0], which, values)
        figures[f"traversal-{which}"] = traversal_figure(x[0], x[0], walk, values, which=which)
    return figures


def swap_figure(
    model: MLVAE,
    guide: GroupedGuide,
    data: GroupedDataset,
    *,
    accumulate: bool = False,
    of: str = "",
    seed: int = 0,
) -> Figure:
    """Contents of up to ten groups, in the styles of as many observations of any group.

    Args:
        model: the trained model.
        guide: its trained guide.
        data: observations to choose from.
        accumulate: whether content is inferred from all of a group's observations together, or from
            the one that is shown.
        of: whose swaps they are, where it is not plain.
        seed: of the choice of styles.
    """
    rows = first_of_each_group(data.group)
    others = torch.ones(len(data), dtype=torch.bool).index_fill(0, rows, value=False).nonzero().flatten()
    if not len(others):  # of every group a single observation is held out
        others = rows
    generator = torch.Generator().manual_seed(seed)
    columns = others[torch.randperm(len(others), generator=generator)[: len(rows)]]
    own, of_group = content_locs(guide, data, rows)
    style = mean_of(encode(guide, data.subset(columns)).style)
    grid = swap(model, of_group if accumulate else own, style)
    source = "all held-out observations of a group" if accumulate else "one observation"
    return swap_grid(
        data.observations(rows),
        data.observations(columns),
        grid,
        title=f"{of[:1].upper()}{of[1:]}: content from {source}" if of else f"Content from {source}",
    )


def reconstruction_figure(model: MLVAE, guide: GroupedGuide, data: GroupedDataset) -> Figure:
    """One observation of each of up to ten groups, from its own content and from its group's."""
    chosen = first_of_each_group(data.group)
    x = data.observations(chosen)
    style = mean_of(encode(guide, data.subset(chosen)).style)
    own, of_group = content_locs(guide, data, chosen)
    return reconstructions(x, decode(model, own, style), decode(model, of_group, style))


def content_locs(guide: GroupedGuide, data: GroupedDataset, index: Tensor) -> tuple[Tensor, Tensor]:
    """Locs of content of the observations at ``index``: each from itself, and from all of its group."""
    codes = encode(guide, data)
    _, group = torch.unique(data.group, return_inverse=True)
    of_groups = mean_of(group_content(guide, codes))
    device = device_of(guide)
    return mean_of(codes.content)[index.to(device)], of_groups[group[index].to(device)]
