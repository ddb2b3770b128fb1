"""Figures of a comparison of ELBO estimators, of elbos.json as ``compare_elbos`` returns it.

What is None there, because it is not defined or was not measured, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pyro_mlvae.plotting.estimator_looks import BLUE, VERMILION, look_of, with_legend
from pyro_mlvae.plotting.style import CONTROL, plain, save_each, tidy, wide_figure

Rows = Sequence[Mapping[str, Any]]
STAGES = {"initial": "before training", "trained": "after training"}
PARTS = {
    "content_encoder": "content encoder",
    "style_encoder": "style encoder",
    "decoder": "decoder",
}


@plain
def tightness_figure(comparison: Mapping[str, Any]) -> Figure:
    """The gap to the reference against the number of particles, at both stages."""
    figure = wide_figure(8.8, 3.7)
    for axes, (stage, when) in zip(figure.subplots(1, len(STAGES)), STAGES.items(), strict=True):
        rows = _stage(comparison, stage)
        for name, own, shift in _by_estimator(rows):
            axes.errorbar(
                [row["num_particles"] * shift for row in own],
                [row["gap"] for row in own],
                [row["standard_error"] or 0.0 for row in own],
                capsize=2.0,
                **look_of(name),
            )
        axes.axhline(0.0, color=CONTROL, linewidth=1.0)
        _particles_axis(axes, rows)
        axes.set_title(when.capitalize(), fontsize=10)
        exact = comparison["reference"] == "exact"
        of = "exact log evidence" if exact else comparison["reference"]
        axes.set_ylabel(f"gap to {of},\n{comparison['units']} per observation")
    return with_legend(figure, comparison)


@plain
def signal_figure(comparison: Mapping[str, Any]) -> Figure:
    """The signal-to-noise ratio of gradients against the number of particles, by part and stage."""
    figure = wide_figure(9.6, 5.6)
    panels = figure.subplots(len(STAGES), len(PARTS), sharex=True)
    for line, (stage, when) in zip(panels, STAGES.items(), strict=True):
        rows = _stage(comparison, stage)
        for axes, (part, title) in zip(line, PARTS.items(), strict=True):
            for name, own, shift in _by_estimator(rows):
                known = [(r["num_particles"] * shift, r["gradient_snr"][part]) for r in own]
                known = [(k, snr) for k, snr in known if snr]
                axes.plot([k for k, _ in known], [snr for _, snr in known], **look_of(name))
            if any(row["gradient_snr"][part] for row in rows):
                axes.set_yscale("log")
                _plain_logarithm(axes.yaxis)
            else:
                axes.text(
                    0.5, 0.5, "no gradient", transform=axes.transAxes, ha="center", color=CONTROL
                )
            _particles_axis(axes, rows)
            axes.set_title(f"{title.capitalize()}, {when}", fontsize=10.5)
            if stage != "trained":
                axes.set_xlabel("")
        line[0].set_ylabel("signal / noise of one gradient")
    return with_legend(figure, comparison)


@plain
def trade_off_figure(comparison: Mapping[str, Any]) -> Figure:
    """What the time of a step buys after training: a smaller gap, or a clearer gradient."""
    figure = wide_figure(8.8, 3.8)
    rows = _stage(comparison, "trained")
    left, right = figure.subplots(1, 2)
    for name, own, _ in _by_estimator(rows):
        left.plot([row["ms_per_step"] for row in own], [row["gap"] for row in own], **look_of(name))
        clear = [row for row in own if row["gradient_snr"]["content_encoder"]]
        signal = [row["gradient_snr"]["content_encoder"] for row in clear]
        right.plot([row["ms_per_step"] for row in clear], signal, **look_of(name))
    for axes in (left, right):
        tidy(axes).set(xscale="log", xlabel="milliseconds per step")
        _plain_logarithm(axes.xaxis)
    left.axhline(0.0, color=CONTROL, linewidth=1.0)
    if any(row["gradient_snr"]["content_encoder"] for row in rows):
        right.set_yscale("log")
        _plain_logarithm(right.yaxis)
    left.set_ylabel(f"gap, {comparison['units']} per observation")
    right.set_ylabel("signal / noise, content encoder")
    counts = sorted({row["num_particles"] for row in rows})
    ks = " to ".join(str(k) for k in dict.fromkeys((counts[0], counts[-1])))
    left.set_title(f"Tightness against time, {ks} particles", fontsize=10.5)
    right.set_title(f"Signal against time, {ks} particles", fontsize=10.5)
    return with_legend(figure, comparison)


@plain
def equal_time_figure(comparison: Mapping[str, Any]) -> Figure:
    """Held-out ELBO against seconds and against network passes, from the same weights, over seeds.

    Each estimator trains at its own best learning rate. Bands are 95 % intervals of the mean.
    """
    particles = list(dict.fromkeys(curve["num_particles"] for curve in comparison["curves"]))
    figure = wide_figure(1.6 + 3.8 * len(particles), 5.6)
    panels = figure.subplots(2, len(particles), squeeze=False, sharey=True)
    axis_names = {"seconds": "seconds of training", "passes": "network passes for each observation"}
    settled: list[float] = []
    for line, (measure, title) in zip(panels, axis_names.items(), strict=True):
        for axes, count in zip(line, particles, strict=True):
            for curve in comparison["curves"]:
                if curve["num_particles"] == count and curve[measure] is not None:
                    settled += _curve_with_band(axes, curve, measure)
            tidy(axes).set_xlabel(title)
            for_ = f"{count} particle{'s' if count > 1 else ''}"
            axes.set_title(f"Held-out ELBO, {for_}", fontsize=9.5)
        line[0].set_ylabel(f"{comparison['units']} per observation")
    evidence = comparison["held_out"]["log_evidence"]
    if settled:
        top = max([*settled, *([] if evidence is None else [evidence])])
        margin = 0.06 * (top - min(settled)) or 1.0
        panels[0, 0].set_ylim(min(settled) - margin, top + margin)
    if evidence is not None:
        for axes in panels.flat:
            axes.axhline(evidence, color=CONTROL, linewidth=1.0, zorder=0)
    return with_legend(figure, comparison)


def _curve_with_band(axes: Axes, curve: Mapping[str, Any], measure: str) -> list[float]:
    """Draw one curve of the ELBO; returns its later values, by which the axis is set."""
    known = [i for i, value in enumerate(curve["elbo"]) if value is not None]
    across = [curve[measure][i] for i in known]
    values = [curve["elbo"][i] for i in known]
    width = [curve["elbo_interval"][i] or 0.0 for i in known]
    look = look_of(curve["estimator"], 1.2)
    axes.plot(across, values, **look)
    low = [value - half for value, half in zip(values, width, strict=True)]
    high = [value + half for value, half in zip(values, width, strict=True)]
    axes.fill_between(across, low, high, color=look["color"], alpha=0.12, linewidth=0.0)
    return values[len(curve["elbo"]) // 2 :]


@plain
def sandwich_figure(comparison: Mapping[str, Any]) -> Figure:
    """The bounds from both sides on data of the model's own, against the number of particles."""
    figure = wide_figure(5.2, 3.6)
    axes = figure.subplots()
    rows = comparison["sandwich"]
    counts = [row["num_particles"] for row in rows]
    for name, colour, label in (("upper", VERMILION, "EUBO"), ("lower", BLUE, "ELBO")):
        values, errors = [row[name] for row in rows], [row[f"{name}_error"] for row in rows]
        look: dict[str, Any] = {"color": colour, "label": f"{label}, K weights"}
        axes.errorbar(counts, values, errors, marker="o", capsize=2.0, **look)
    evidence = rows[0]["log_evidence"]
    if evidence is not None:
        axes.axhline(evidence, color=CONTROL, linewidth=1.0, label="exact log evidence")
    _particles_axis(axes, rows)
    axes.set_ylabel(f"{comparison['units']} per observation")
    axes.set_title("Bounds from both sides, on data that the model drew", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    return figure


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "tightness": tightness_figure,
    "signal": signal_figure,
    "trade-off": trade_off_figure,
    "equal-time": equal_time_figure,
    "sandwich": sandwich_figure,
}


def draw_comparison(folder: Path, comparison: Mapping[str, Any]) -> dict[str, str]:
    """Write every figure of what a comparison measured into ``folder``, as PNG.

    Returns:
        Why, by name, of the figures that could not be drawn.
    """
    parts = {"equal-time": "curves", "sandwich": "sandwich"}
    shown = [name for name in FIGURES if name not in parts or comparison[parts[name]]]
    return save_each(folder, {name: partial(FIGURES[name], comparison) for name in shown})


def _stage(comparison: Mapping[str, Any], stage: str) -> Rows:
    return [row for row in comparison["rows"] if row["stage"] == stage]


def _by_estimator(rows: Rows) -> list[tuple[str, Rows, float]]:
    """Each estimator with its rows, and a factor that sets its markers a little apart."""
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    found: list[tuple[str, Rows, float]] = []
    for place, name in enumerate(names):
        own = [row for row in rows if row["estimator"] == name and row["gap"] is not None]
        own.sort(key=lambda row: row["num_particles"])
        found.append((name, own, 1.05 ** (place - (len(names) - 1) / 2)))
    return found


def _particles_axis(axes: Axes, rows: Rows) -> None:
    counts = sorted({row["num_particles"] for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("particles")
    tidy(axes)


def _plain_logarithm(axis: Axis) -> None:
    """Ticks such as 0.5 and 20 instead of powers of ten."""
    low, high = sorted(axis.get_view_interval())
    # Over less than a decade, 1, 2 and 5 are too few.
    subs = (1.0, 2.0, 5.0) if high > 8.0 * low > 0.0 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.set_major_locator(LogLocator(10.0, subs=subs, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
