"""Figures of the posterior: whether it can be trusted, and which dimensions it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pyro_mlvae.plotting.metrics_figures import CHANCE, MARKERS, Look
from pyro_mlvae.plotting.style import COLOURS, CONTENT, CONTROL, STYLE, plain, tidy, wide_figure


@plain
def self_consistency_figure(calibration: Mapping[str, Any]) -> Figure:
    """What intervals of content promise, against what they hold: on the diagonal, the two are the same.

    Args:
        calibration: the ``diagnostics.calibration`` of metrics.json.
    """
    figure = wide_figure(8.6, 3.7)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    levels, products = calibration["levels"], ("without_prior", "with_prior")
    covered = [value for name in products for row in calibration[name] if row for value in row]
    low = max(0.0, min(levels + covered) - 0.08)
    titles = ("Product of experts alone", "With the prior as one more expert")
    for axes, name, title in zip(panels, products, titles, strict=True):
        axes.plot([low, 1.0], [low, 1.0], **CHANCE)
        for place, (k, row) in enumerate(zip(calibration["k"], calibration[name], strict=True)):
            if row is not None:
                look = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
                label = f"{k} observation{'s' if k > 1 else ''}"
                axes.plot(levels, row, label=label, markerfacecolor="none", linewidth=1.3, **look)
        note: Look = {"transform": axes.transAxes, "fontsize": 8.5, "color": "#555555"}
        axes.text(0.04, 0.96, "holds more: too unsure", va="top", **note)
        axes.text(0.96, 0.04, "holds less: too sure", ha="right", **note)
        tidy(axes).set(xlim=(low, 1.0), ylim=(low, 1.0), aspect="equal", xlabel="promised by the interval")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(title, fontsize=11)
    panels[0].set_ylabel("draws from the whole group inside")
    legend: Look = {"frameon": False, "fontsize": 8.5, "title_fontsize": 8.5, "alignment": "left"}
    lines = panels[1].get_legend_handles_labels()
    figure.legend(*lines, title="content intervals from", loc="outside right center", **legend)
    return figure


@plain
def sbc_figure(found: Mapping[str, Any]) -> Figure:
    """Histograms of ranks, one line a dimension, and the band of 99 % of the bars of an exact posterior.

    Args:
        found: the ``diagnostics.simulation_based`` of metrics.json.
    """
    sites = found["sites"]
    figure = wide_figure(0.6 + 3.6 * len(sites), 3.1)
    panels = figure.subplots(1, len(sites), sharey=True, squeeze=False)[0]
    edges = torch.linspace(0.0, 1.0, found["bins"] + 1).tolist()
    for axes, (name, site) in zip(panels, sites.items(), strict=True):
        colour = STYLE if name == "style" else CONTENT
        axes.axhspan(*found["band"], color=CONTROL, alpha=0.22, linewidth=0.0)
        axes.axhline(found["ranks"] / found["bins"], **CHANCE)
        for counts in site["histogram"]:
            axes.stairs(counts, edges, color=colour, alpha=0.35, linewidth=1.0, baseline=None)
        mean = torch.tensor(site["histogram"], dtype=torch.float64).mean(0).tolist()
        axes.stairs(mean, edges, color=colour, linewidth=2.2, baseline=None)
        tidy(axes).set(xlim=(0.0, 1.0), xlabel="rank of the truth among draws, as a share")
        said = "p < 0.001" if site["p"] < 0.001 else f"p = {site['p']:.3f}"
        axes.set_title(f"{name.replace('_', '-').capitalize()}: {said}", fontsize=11)
    panels[0].set_ylim(bottom=0.0)
    panels[0].set_ylabel(f"ranks in a bin, of {found['ranks']}")
    return figure


@plain
def k_hat_figure(found: Mapping[str, Any]) -> Figure:
    """The k-hat of every group in ascending order, and the line above which weights mislead.

    Args:
        found: the ``diagnostics.k_hat`` of metrics.json.
    """
    figure = wide_figure(5.6, 3.1)
    axes = tidy(figure.subplots())
    axes.plot(range(1, found["groups"] + 1), found["k"], "o", color=CONTENT, markersize=3.5)
    axes.axhline(found["threshold"], **CHANCE)
    note: Look = {"fontsize": 8.5, "color": "#555555", "xycoords": ("axes fraction", "data")}
    note |= {"xytext": (0, 3), "textcoords": "offset points"}
    axes.annotate(f"{found['threshold']}: weights mislead above", (0.01, found["threshold"]), **note)
    axes.set(xlabel="group, in ascending order", ylabel="Pareto k-hat")
    axes.set_ylim(min(-0.1, *found["k"]) - 0.05, max(1.0, found["max"]) * 1.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{found['share_above']:.0%} of {found['groups']} groups above 0.7", fontsize=11)
    return figure


@plain
def activity_figure(activity: Mapping[str, Any]) -> Figure:
    """The divergence of every dimension of content and of style from the prior, largest first.

    Args:
        activity: the ``active_units`` of metrics.json.
    """
    figure = wide_figure(7.8, 3.1)
    sites = (("content", "group", CONTENT), ("style", "observation", STYLE))
    for axes, (site, unit, colour) in zip(figure.subplots(1, 2), sites, strict=True):
        nats = sorted(activity[f"kl_{site}"], reverse=True)
        axes.bar(range(1, len(nats) + 1), nats, 0.75, color=colour)
        tidy(axes).grid(visible=False, axis="x")
        axes.set(xlabel="dimension, largest first", ylabel=f"KL, nats per {unit}")
        axes.set(xlim=(0.4, len(nats) + 0.6), ylim=(0.0, 1.08 * max(*nats, 0.01)))
        axes.xaxis.get_major_locator().set_params(integer=True)
        units, dims = activity[site], activity[f"{site}_dim"]
        axes.set_title(f"{site.capitalize()}: {units} of {dims} dimensions active", fontsize=11)
    return figure
