"""Figures of a comparison of ELBO estimators: each takes elbos.json, as ``compare_elbos`` returns it.

What is None there, because it is not defined or was not measured, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pyro_mlvae.plotting.style import COLOURS, CONTROL, new_figure, save_figure, tidy

Look = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS
# Every estimator keeps its colour, marker and line in every figure.
LOOKS: dict[str, Look] = {
    "trace": {"color": BLACK, "marker": "o", "linestyle": "-"},
    "mean-field": {"color": BLUE, "marker": "s", "linestyle": "--"},
    "graph": {"color": BLACK, "marker": "x", "linestyle": ":"},
    "renyi": {"color": ORANGE, "marker": "D", "linestyle": ":"},
    "group-iwae": {"color": VERMILION, "marker": "^", "linestyle": "-"},
    "group-renyi": {"color": PURPLE, "marker": "v", "linestyle": "-."},
    "dreg": {"color": GREEN, "marker": "P", "linestyle": "--"},
    "stl": {"color": SKY, "marker": "*", "linestyle": "-"},
    "local": {"color": CONTROL, "marker": "X", "linestyle": "-."},
}
STAGES = {"initial": "before training", "trained": "after training"}
PARTS = {"content_encoder": "content encoder", "style_encoder": "style encoder", "decoder": "decoder"}


def tightness_figure(comparison: Mapping[str, Any]) -> Figure:
    """The gap to the reference against the number of particles, with standard errors, at both stages."""
    figure = _figure(8.8, 3.7)
    for axes, (stage, when) in zip(figure.subplots(1, len(STAGES)), STAGES.items(), strict=True):
        rows = _stage(comparison, stage)
        for name, own, shift in _by_estimator(rows):
            axes.errorbar(
                [row["num_particles"] * shift for row in own],
                [row["gap"] for row in own],
                [row["standard_error"] or 0.0 for row in own],
                capsize=2.0,
                **_look(name),
            )
        axes.axhline(0.0, color=CONTROL, linewidth=1.0)
        _particles_axis(axes, rows)
        axes.set_title(f"{when.capitalize()}: {_tightest(rows)}", fontsize=10)
        exact = comparison["reference"] == "exact"
        of = "exact log evidence" if exact else comparison["reference"]
        axes.set_ylabel(f"gap to {of},\n{comparison['units']} per observation")
    return _with_legend(figure, comparison)


def signal_figure(comparison: Mapping[str, Any]) -> Figure:
    """The signal-to-noise ratio of gradients against the number of particles, by part and stage."""
    figure = _figure(9.6, 5.6)
    panels = figure.subplots(len(STAGES), len(PARTS), sharex=True)
    for line, (stage, when) in zip(panels, STAGES.items(), strict=True):
        rows = _stage(comparison, stage)
        for axes, (part, title) in zip(line, PARTS.items(), strict=True):
            for name, own, shift in _by_estimator(rows):
                known = [(r["num_particles"] * shift, r["gradient_snr"][part]) for r in own]
                known = [(k, snr) for k, snr in known if snr]
                axes.plot([k for k, _ in known], [snr for _, snr in known], **_look(name))
            if any(row["gradient_snr"][part] for row in rows):
                axes.set_yscale("log")
                _plain_logarithm(axes.yaxis)
            else:
                axes.text(0.5, 0.5, "no gradient", transform=axes.transAxes, ha="center", color=CONTROL)
            _particles_axis(axes, rows)
            axes.set_title(f"{title.capitalize()}, {when}", fontsize=10.5)
            if stage != "trained":
                axes.set_xlabel("")
        line[0].set_ylabel("signal / noise of one gradient")
    figure.suptitle(_trends(comparison), fontsize=10.5)
    return _with_legend(figure, comparison)


def trade_off_figure(comparison: Mapping[str, Any]) -> Figure:
    """What the time of a step buys after training: a smaller gap, or a clearer gradient."""
    figure = _figure(8.8, 3.8)
    rows = _stage(comparison, "trained")
    left, right = figure.subplots(1, 2)
    for name, own, _ in _by_estimator(rows):
        left.plot([row["ms_per_step"] for row in own], [row["gap"] for row in own], **_look(name))
        clear = [row for row in own if row["gradient_snr"]["content_encoder"]]
        signal = [row["gradient_snr"]["content_encoder"] for row in clear]
        right.plot([row["ms_per_step"] for row in clear], signal, **_look(name))
    for axes in (left, right):
        tidy(axes).set(xscale="log", xlabel="milliseconds per step")
        _plain_logarithm(axes.xaxis)
    left.axhline(0.0, color=CONTROL, linewidth=1.0)
    if any(row["gradient_snr"]["content_encoder"] for row in rows):
        right.set_yscale("log")
        _plain_logarithm(right.yaxis)
    left.set_ylabel(f"gap, {comparison['units']} per observation")
    right.set_ylabel("signal / noise, content encoder")
    ks = " to ".join(str(k) for k in _ends(rows))
    left.set_title(f"What time buys in tightness, {ks} particles", fontsize=10.5)
    right.set_title(f"What time buys in signal, {ks} particles", fontsize=10.5)
    return _with_legend(figure, comparison)


def equal_time_figure(comparison: Mapping[str, Any]) -> Figure:
    """Held-out ELBO and a tighter bound against the time that training took, from the same weights."""
    particles = list(dict.fromkeys(curve["num_particles"] for curve in comparison["curves"]))
    figure = _figure(1.6 + 3.8 * len(particles), 5.6)
    panels = figure.subplots(2, len(particles), squeeze=False, sharey="row", sharex=True)
    names = {"elbo": "ELBO", "group_iwae_50": "50-sample bound"}
    for line, (measure, title) in zip(panels, names.items(), strict=True):
        settled: list[float] = []
        for axes, count in zip(line, particles, strict=True):
            best = ("", -float("inf"))
            for curve in comparison["curves"]:
                if curve["num_particles"] != count:
                    continue
                values = curve[measure]
                axes.plot(curve["seconds"], values, **_look(curve["estimator"], 1.2))
                settled += [value for value in values[4:] if value is not None]
                if values[-1] is not None and values[-1] > best[1]:
                    best = (curve["estimator"], values[-1])
            tidy(axes)
            for_ = f"{count} particle{'s' if count > 1 else ''}"
            axes.set_title(f"{title}, {for_}: {best[0]} is ahead", fontsize=9.5)
        evidence = comparison["held_out"]["log_evidence"]
        if settled:
            top = max([*settled, *([] if evidence is None else [evidence])])
            margin = 0.06 * (top - min(settled)) or 1.0
            line[0].set_ylim(min(settled) - margin, top + margin)
        for axes in line:
            if evidence is not None:
                axes.axhline(evidence, color=CONTROL, linewidth=1.0, zorder=0)
        line[0].set_ylabel(f"held out, {comparison['units']} per observation")
    for axes in panels[-1]:
        axes.set_xlabel("seconds of training")
    return _with_legend(figure, comparison)


FIGURES: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "tightness": tightness_figure,
    "signal": signal_figure,
    "trade-off": trade_off_figure,
    "equal-time": equal_time_figure,
}


def draw_comparison(folder: Path, comparison: Mapping[str, Any]) -> None:
    """Write every figure of a comparison into ``folder`` as PNG; without curves, none of them."""
    for name, draw in FIGURES.items():
        if comparison["curves"] or name != "equal-time":
            save_figure(draw(comparison), folder / f"{name}.png")


def _figure(width: float, height: float) -> Figure:
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained", wspace=0.05, hspace=0.05)
    return figure


def _look(name: str, linewidth: float = 1.4) -> Look:
    look = LOOKS.get(name, {"color": CONTROL, "marker": "h", "linestyle": ":"})
    size = 8.0 if look["marker"] == "*" else 5.5
    return {**look, "label": name, "linewidth": linewidth, "markersize": size, "markerfacecolor": "none"}


def _stage(comparison: Mapping[str, Any], stage: str) -> Rows:
    return [row for row in comparison["rows"] if row["stage"] == stage]


def _by_estimator(rows: Rows) -> list[tuple[str, Rows, float]]:
    """Each estimator with its rows, and a factor that sets its markers a little apart from others'."""
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    found: list[tuple[str, Rows, float]] = []
    for place, name in enumerate(names):
        own = [row for row in rows if row["estimator"] == name and row["gap"] is not None]
        own.sort(key=lambda row: row["num_particles"])
        found.append((name, own, 1.05 ** (place - (len(names) - 1) / 2)))
    return found


def _ends(rows: Rows) -> tuple[int, ...]:
    counts = sorted({row["num_particles"] for row in rows})
    return (counts[0], counts[-1]) if len(counts) > 1 else (counts[0],)


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


def _tightest(rows: Rows) -> str:
    """Which estimator comes closest to the reference, and which others are as close as draws can tell."""
    known = [row for row in rows if row["gap"] is not None and row["standard_error"] is not None]
    best = min(known, key=lambda row: row["gap"])
    near = [row for row in known if row["gap"] - best["gap"] <= row["standard_error"]]
    names = list(dict.fromkeys(row["estimator"] for row in near))
    if len(names) > 3:
        return "no one is tightest"
    return f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} tightest"


def _trends(comparison: Mapping[str, Any]) -> str:
    """What more particles do to the content encoder's gradient after training, in two lines."""
    rows = _stage(comparison, "trained")
    ends = _ends(rows)
    said = []
    for name in ("trace", "stl", "dreg", "group-iwae"):
        own = [row for row in rows if row["estimator"] == name]
        signal = {row["num_particles"]: row["gradient_snr"]["content_encoder"] for row in own}
        first, last = signal.get(ends[0]), signal.get(ends[-1])
        if len(ends) > 1 and first and last is not None:
            said.append(f"{name} {last / first:.2g}" if last else f"{name} 0 (lost in its noise)")
    if not said:
        return "How clear the gradients are"
    return (
        f"What {ends[1]} particles instead of {ends[0]} multiply the content encoder's signal / noise by, "
        f"after training:\n{', '.join(said)}"
    )


def _with_legend(figure: Figure, comparison: Mapping[str, Any]) -> Figure:
    """One legend at the right, for all panels."""
    names = dict.fromkeys(row["estimator"] for row in comparison["rows"])
    lines = [Line2D([], [], **_look(name)) for name in names]
    figure.legend(handles=lines, loc="outside right center", frameon=False, fontsize=9, handlelength=3.0)
    return figure
