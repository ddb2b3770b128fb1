"""Figures of the posterior: whether it can be trusted, and which dimensions it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pyro_mlvae.plotting.metrics_figures import CHANCE, MARKERS, Look
from pyro_mlvae.plotting.style import CONTENT, CONTROL, STYLE, plain, tidy, wide_figure

ON_THE_RIGHT: Look = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
# Ordered, as numbers of observations are: light to dark.
FEW_TO_MANY = ("#9ecae1", "#4f9bcb", "#1f6fa8", "#0b3d66", "#000000")


@plain
def self_consistency_figure(calibration: Mapping[str, Any]) -> Figure:
    """What intervals of content hold, against what they promise; equal on the diagonal.

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
                look: Look = {
                    "color": FEW_TO_MANY[place % len(FEW_TO_MANY)],
                    "marker": MARKERS[place % len(MARKERS)],
                }
                label = f"{k} observation{'s' if k > 1 else ''}"
                axes.plot(levels, row, label=label, markerfacecolor="none", linewidth=1.3, **look)
        note: Look = {"transform": axes.transAxes, "fontsize": 8.5, "color": "#555555"}
        axes.text(0.04, 0.96, "holds more: too unsure", va="top", **note)
        axes.text(0.96, 0.04, "holds less: too sure", ha="right", **note)
        tidy(axes).set(
            xlim=(low, 1.0), ylim=(low, 1.0), aspect="equal", xlabel="promised by the interval"
        )
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
    """Histograms of ranks, a line a dimension, and the band of 99 % of an exact posterior's bars.

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
    axes.annotate(
        f"{found['threshold']}: weights mislead above", (0.01, found["threshold"]), **note
    )
    axes.set(xlabel="group, in ascending order", ylabel="Pareto k-hat")
    axes.set_ylim(min(-0.1, *found["k"]) - 0.05, max(1.0, found["max"]) * 1.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{found['share_above']:.0%} of {found['groups']} groups above 0.7", fontsize=11)
    return figure


@plain
def activity_figure(activity: Mapping[str, Any]) -> Figure:
    """The divergence of every dimension of content and of style from the prior, largest first.

    Active dimensions are filled: those whose loc varies between observations by more than the
    threshold.

    Args:
        activity: the ``active_units`` of metrics.json.
    """
    figure = wide_figure(7.8, 3.4)
    sites = (("content", "group", CONTENT), ("style", "observation", STYLE))
    for axes, (site, unit, colour) in zip(figure.subplots(1, 2), sites, strict=True):
        nats = activity[f"kl_{site}"]
        order = _largest_first(nats)
        active = [activity[f"variance_{site}"][i] > activity["threshold"] for i in order]
        fill = [colour if is_active else "white" for is_active in active]
        places, heights = range(1, len(nats) + 1), [nats[i] for i in order]
        axes.bar(places, heights, 0.75, color=fill, edgecolor=colour, linewidth=1.2)
        tidy(axes).grid(visible=False, axis="x")
        axes.set(xlabel="dimension, largest first", ylabel=f"KL, nats per {unit}")
        axes.set(xlim=(0.4, len(nats) + 0.6), ylim=(0.0, 1.08 * max(*nats, 0.01)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        units, dims = activity[site], activity[f"{site}_dim"]
        axes.set_title(f"{site.capitalize()}: {units} of {dims} dimensions active", fontsize=11)
    kinds = (("active", "over", "#555555"), ("not active", "at most", "white"))
    varies = f"variance of loc {{}} {activity['threshold']}"
    marks = [
        Patch(facecolor=face, edgecolor="#555555", label=f"{kind}: {varies.format(bound)}")
        for kind, bound, face in kinds
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)
    return figure


@plain
def scale_figure(activity: Mapping[str, Any]) -> Figure:
    """The mean scale of the posterior by dimension, in the order of :func:`activity_figure`.

    Args:
        activity: the ``active_units`` of metrics.json.
    """
    figure = wide_figure(7.8, 3.1)
    # The prior's scale is 1.
    one: Look = {"marker": "o", "label": "of one observation"}
    whole: Look = {"marker": "s", "markerfacecolor": "white", "label": "of a whole group"}
    sites = (
        ("content", CONTENT, (("scale_content", one), ("scale_content_of_groups", whole))),
        ("style", STYLE, (("scale_style", one),)),
    )
    top = 1.0
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (site, colour, parts) in zip(panels, sites, strict=True):
        order = _largest_first(activity[f"kl_{site}"])
        axes.axhline(1.0, **CHANCE)
        axes.annotate(
            "prior", (1.0, 1.0), (0, 2), ha="right", va="bottom", fontsize=8.5, **ON_THE_RIGHT
        )
        for name, look in parts:
            scales = [activity[name][i] for i in order]
            axes.plot(range(1, len(order) + 1), scales, linestyle="none", color=colour, **look)
            top = max(top, *scales)
        tidy(axes).set(xlabel="dimension, in the order of its KL", xlim=(0.4, len(order) + 0.6))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"Scale of {site}'s posterior", fontsize=11)
        axes.legend(frameon=False, fontsize=8.5)
    panels[0].set(ylabel="mean scale", ylim=(0.0, 1.15 * top))
    return figure


def _largest_first(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -values[i])
