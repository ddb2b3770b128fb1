"""The figures of a training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.decoding import TRAVERSED, decode, generate, interpolate, swap, traverse
from pyro_mlvae.latents.encoding import Codes, device_of, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of
from pyro_mlvae.plotting.curves import training_curves
from pyro_mlvae.plotting.images import first_of_each_group, reconstructions, swap_grid
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
from pyro_mlvae.plotting.style import plain, save_each
from pyro_mlvae.training import History


@torch.no_grad()
def draw_run(
    folder: Path,
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    metrics: Mapping[str, Any],
    *,
    history: History | None,
    vae: tuple[MLVAE, GroupedGuide] | None = None,
    untrained: GroupedGuide | None = None,
) -> dict[str, str]:
    """Draw every figure of a run into ``folder``; one that fails costs none of the others.

    Args:
        folder: where they go.
        model: the trained model.
        guide: its trained guide.
        test: held-out observations.
        metrics: what was measured on them; what is None there is not drawn.
        history: of the training; None where it is not known, and not drawn.
        vae: the plain VAE with its guide, whose swaps and reconstructions are drawn beside the
            model's.
        untrained: the guide with its initial weights, whose codes are mapped beside the trained
            ones.

    Returns:
        Why, by name, of the figures that could not be drawn.
    """
    codes, look = encode(guide, test), look_of(test)
    figures: dict[str, Callable[[], Figure]] = {
        "swap": partial(swap_figure, model, guide, test),
        "swap-evidence": partial(swap_figure, model, guide, test, accumulate=True),
        "reconstructions": partial(reconstruction_figure, model, guide, test, vae=vae),
        "evidence": partial(evidence_figure, metrics["probe"], metrics["evidence"]),
        "latents": partial(_map, codes, test, untrained),
        "generation": lambda: generation_figure(
            generate(model, groups=_single_groups(test, 8)), look=look
        ),
        **_walks(model, codes, test, look),
    }
    if history is not None:
        figures["training"] = partial(training_curves, history, metrics["elbo"]["units"])
    if vae is not None:
        figures["swap-vae"] = partial(swap_figure, *vae, test, of="a plain VAE")
        figures["swap-vae-evidence"] = partial(
            swap_figure, *vae, test, accumulate=True, of="a plain VAE"
        )
    unseen = metrics["unseen"]
    if unseen is not None and unseen["ways"] is None:
        unseen = None  # a single group, which there is none to tell from
    for part, name, draw in (
        (metrics["probe"], "probes", probe_figure),
        (metrics["active_units"], "active-units", activity_figure),
        (metrics["active_units"], "posterior-scales", scale_figure),
        (unseen, "unseen", few_shot_figure),
        (metrics["diagnostics"]["calibration"], "self-consistency", self_consistency_figure),
        (metrics["diagnostics"]["simulation_based"], "simulation-based-calibration", sbc_figure),
        (metrics["diagnostics"]["k_hat"], "k-hat", k_hat_figure),
    ):
        if part is not None:
            figures[name] = partial(draw, part)
    return save_each(folder, figures)


def _map(codes: Codes, test: GroupedDataset, untrained: GroupedGuide | None) -> Figure:
    """Codes of single observations, the trained encoder's above those of an untrained one."""
    control = None
    if untrained is not None:
        of_untrained = encode(untrained, test)
        control = mean_of(of_untrained.content), mean_of(of_untrained.style)
    content, style = mean_of(codes.content), mean_of(codes.style)
    return latent_map(content, style, test.label, test.label_names, untrained=control)


def _single_groups(data: GroupedDataset, count: int) -> Groups:
    """Groups of one observation each, with the fields that priors may depend on."""
    first = first_of_each_group(data.group, count)
    number = torch.arange(count)
    return data.groups(first[number % len(first)], number)


def _walks(
    model: MLVAE, codes: Codes, test: GroupedDataset, look: Look
) -> dict[str, Callable[[], Figure]]:
    """From one observation to one of another group, and along each dimension of the first."""
    ends = first_of_each_group(test.group, 2)
    if len(ends) < 2:
        return {}
    x, place = test.observations(ends), ends.to(codes.features.device)
    content, style = mean_of(codes.content)[place], mean_of(codes.style)[place]

    def traversal(which: str) -> Figure:
        walk = traverse(model, content[0], style[0], which)
        own = (content if which == "content" else style)[0]
        return traversal_figure(x[0], x[0], walk, TRAVERSED, which=which, own=own, look=look)

    return {
        "interpolation": lambda: interpolation_figure(
            x, x, interpolate(model, content, style), look=look
        ),
        "traversal-content": partial(traversal, "content"),
        "traversal-style": partial(traversal, "style"),
    }


@plain
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
    is_row = torch.zeros(len(data), dtype=torch.bool).index_fill(0, rows, value=True)
    others = (~is_row).nonzero().flatten()
    if not len(others):  # of every group a single observation is held out
        others = rows
    generator = torch.Generator().manual_seed(seed)
    columns = others[torch.randperm(len(others), generator=generator)[: len(rows)]]
    own, of_group = content_locs(guide, data, rows)
    style = mean_of(encode(guide, data.subset(columns)).style)
    grid = swap(model, of_group if accumulate else own, style, data.observations(columns))
    source = "all held-out observations of a group" if accumulate else "one observation"
    title = f"{of}: content from {source}" if of else f"content from {source}"
    title = title[0].upper() + title[1:]
    x = data.observations(rows), data.observations(columns)
    return swap_grid(*x, grid, title=title, look=look_of(data))


@plain
def reconstruction_figure(
    model: MLVAE,
    guide: GroupedGuide,
    data: GroupedDataset,
    *,
    vae: tuple[MLVAE, GroupedGuide] | None = None,
) -> Figure:
    """One observation a group, from its own content, its group's, and a plain VAE's."""
    chosen = first_of_each_group(data.group)
    x, alone = data.observations(chosen), data.subset(chosen)
    style = mean_of(encode(guide, alone).style)
    own, of_group = content_locs(guide, data, chosen)
    of_vae = None
    if vae is not None:
        codes = encode(vae[1], alone)
        of_vae = decode(vae[0], mean_of(codes.content), mean_of(codes.style), x)
    return reconstructions(
        x,
        decode(model, own, style, x),
        decode(model, of_group, style, x),
        vae=of_vae,
        look=look_of(data),
    )


def content_locs(guide: GroupedGuide, data: GroupedDataset, index: Tensor) -> tuple[Tensor, Tensor]:
    """Locs of content at ``index``: each from itself, and from all of its group."""
    codes = encode(guide, data)
    _, group = torch.unique(data.group, return_inverse=True)
    of_groups = mean_of(group_content(guide, codes))
    device = device_of(guide)
    return mean_of(codes.content)[index.to(device)], of_groups[group[index].to(device)]
