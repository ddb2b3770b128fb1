"""The results as one figure: every panel a question, and black marks where more was not to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from memory import AS_IT_IS, IN_USE
from results import Row

from pyro_mlvae.plotting.style import COLOURS, new_figure, save_figure, tidy

BLUE, ORANGE, GREEN = COLOURS[:3]
GREY = "#999999"
ASKED: dict[str, Any] = {"color": "#333333", "linestyle": (0, (4, 3)), "linewidth": 1.0, "zorder": 1}
MARK: dict[str, Any] = {"color": "black", "linewidth": 1.6}
SMALL = 7.5


def draw_results(rows: Sequence[Row], path: Path, caption: str = "") -> None:
    """Draw the parts that are there, three panels a line, over a caption."""
    panels: list[tuple[Callable[[Axes, Sequence[Row]], None], list[Row]]] = []
    for part, draw in PANELS:
        members = [row for row in rows if row.part.startswith(part)]
        if part == "step":
            for name in dict.fromkeys(row.part for row in members):
                panels.append((draw, [row for row in members if row.part == name]))
            panels += [(_estimators, members)] if members else []
        elif members:
            panels.append((draw, members))
    if not panels:
        return
    lines = -(-len(panels) // 3)
    columns = min(3, len(panels))
    figure = new_figure(4.1 * columns, 3.0 * lines)
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (draw, members) in zip(grid, panels, strict=False):
        draw(tidy(axes), members)
        axes.tick_params(labelsize=SMALL)
        axes.title.set_fontsize(9.5)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_fontsize(8.5)
    for axes in grid[len(panels) :]:
        axes.remove()
    if caption:
        figure.supxlabel(caption, fontsize=8.5, color="#555555")
    save_figure(figure, path)


def _step(axes: Axes, rows: Sequence[Row]) -> None:
    """Milliseconds as bars, in each the ratio to the hand-written step."""
    rows = [row for row in rows if row.base in ("hand-written", "eager")]
    by_hand = next(row for row in rows if row.case == "hand-written")
    colours = {"hand-written": GREEN, "matrix products": GREY, "NumPyro": ORANGE}
    _ratio_bars(
        axes,
        [row.case for row in rows],
        [row.ms for row in rows],
        [row.more.get("÷ hand-written") or row.ratio for row in rows],
        [colours.get(row.case, BLUE) for row in rows],
    )
    for place, row in enumerate(rows):
        if row.base == "hand-written" and row.at_most is not None:
            axes.plot([by_hand.ms * row.at_most] * 2, [place - 0.42, place + 0.42], **MARK)
    axes.set_title(f"A step on {rows[0].part.removeprefix('step, ')}")
    axes.set_xlabel("milliseconds (in the bars: ratio to hand-written)")


def _ratio_bars(
    axes: Axes, names: list[str], lengths: list[float], ratios: list[float], colours: list[str]
) -> None:
    bars = axes.barh(names, lengths, color=colours, height=min(0.65, 0.2 * len(names)))
    labels = [f"{ratio:.2f}" for ratio in ratios]
    axes.bar_label(bars, labels, label_type="center", color="white", fontsize=8.0, fontweight="bold")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _estimators(axes: Axes, rows: Sequence[Row]) -> None:
    """Each estimator's ratio to "trace": dots, and a tick for what is asked."""
    rows = [row for row in rows if row.base == "trace"]
    names = list(dict.fromkeys(row.case for row in rows))
    kinds = list(dict.fromkeys(row.part for row in rows))
    for kind, colour in zip(kinds, (BLUE, ORANGE), strict=False):
        own = [row for row in rows if row.part == kind]
        label = kind.removeprefix("step, ")
        places = [names.index(row.case) for row in own]
        axes.plot([row.ratio for row in own], places, "o", color=colour, markersize=5, label=label)
    for row in rows:
        if row.at_most is not None:
            place = names.index(row.case)
            axes.plot([row.at_most] * 2, [place - 0.35, place + 0.35], **MARK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title(f"Estimators{', convolutions' if rows[0].part.startswith('conv') else ''}")
    axes.set_xlabel("ratio to trace (marks: at most)")
    if len(kinds) > 1:
        axes.legend(fontsize=SMALL, frameon=False, loc="upper right")


def _groups(axes: Axes, rows: Sequence[Row]) -> None:
    even = [row for row in rows if "groups" in row.at]
    _line(axes, [row.at["groups"] for row in even], [row.ratio for row in even], "even groups")
    for row in rows:
        if "groups" not in row.at:
            label = "one of 1,000 and 24 singletons,\nagainst 25 even groups"
            axes.plot([25], [row.ratio], "D", color=ORANGE, markersize=5, label=label)
    asked = max((row.at_most for row in rows if row.at_most), default=None)
    if asked:
        axes.axhline(asked, **ASKED)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [row.at["groups"] for row in even], [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(min(0.9, *(row.ratio - 0.02 for row in rows)), max(1.15, *(r.ratio + 0.02 for r in rows)))
    axes.legend(fontsize=SMALL, frameon=False, loc="lower left")
    axes.set_title(f"More groups, {rows[0].part.partition(', ')[2]}")
    axes.set_xlabel("groups")
    axes.set_ylabel("ratio to 10 groups")


def _sweep(key: str, title: str, xlabel: str, *, ratio: bool) -> Callable[[Axes, Sequence[Row]], None]:
    """A panel of one quantity, on two logarithmic scales, with the slope of proportional growth."""

    def draw(axes: Axes, rows: Sequence[Row]) -> None:
        x = [row.at[key] for row in rows]
        y = [row.ratio if ratio else row.ms for row in rows]
        _line(axes, x, y, None)
        axes.set_xscale("log")
        axes.set_yscale("log")
        if key == "dim":
            axes.set_ylim(min(y) / 2, max(y) * 2)
        else:
            end = 0 if ratio else -1
            axes.plot(
                x, [y[end] * each / x[end] for each in x], color=GREY, linewidth=1, label="proportional"
            )
            axes.legend(fontsize=SMALL, frameon=False, loc="upper left")
        axes.set_xticks(x, [f"{each:,}" for each in x])
        axes.minorticks_off()
        ticks = [tick for tick in TICKS if min(axes.get_ylim()) <= tick <= max(axes.get_ylim())]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_title(title)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(f"ratio to {rows[0].base}" if ratio else "milliseconds a step")

    return draw


def _evidence_time(axes: Axes, rows: Sequence[Row]) -> None:
    _evidence(axes, rows, "µs per observation")
    axes.set_title("Evidence: time")
    axes.set_ylabel("µs per observation")


def _evidence_memory(axes: Axes, rows: Sequence[Row]) -> None:
    _evidence(axes, rows, IN_USE, AS_IT_IS)
    axes.set_title("Evidence: growth of memory")
    axes.set_ylabel("MB (dotted: with what malloc keeps)")


def _evidence(axes: Axes, rows: Sequence[Row], quantity: str, beside: str | None = None) -> None:
    top = 0.0
    for way, colour in (("in memory", BLUE), ("streamed", ORANGE)):
        own = [row for row in rows if row.case.endswith(way)]
        x = [row.at["observations"] for row in own]
        y = [row.more[quantity] or math.nan for row in own]
        _line(axes, x, y, way, colour)
        top = max([top, *y])
        if beside is not None:
            kept = [row.more[beside] or math.nan for row in own]
            axes.plot(x, kept, ":", color=colour, linewidth=1.2)
            top = max([top, *kept])
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_ylim(0.0, 1.3 * top or 1.0)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper left", ncols=2)
    axes.set_xlabel("observations")


def _line(
    axes: Axes, x: Sequence[float], y: Sequence[float], label: str | None, colour: str = BLUE
) -> None:
    axes.plot(x, y, "o-", color=colour, markersize=4, linewidth=1.4, label=label)


def _bars(title: str) -> Callable[[Axes, Sequence[Row]], None]:
    """Ratios as bars, for the parts that compare a few ways of doing the same."""

    def draw(axes: Axes, rows: Sequence[Row]) -> None:
        kinds = [row.part.rpartition(", ")[2] for row in rows]
        several = len(set(kinds)) > 1
        names = [
            f"{row.case}, {kind}" if several else row.case for row, kind in zip(rows, kinds, strict=True)
        ]
        colours = [GREY if row.case == row.base else BLUE for row in rows]
        ratios = [row.ratio for row in rows]
        _ratio_bars(axes, names, ratios, ratios, colours)
        axes.set_title(title)
        axes.set_xlabel(f"ratio to {rows[0].base}")

    return draw


TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
PANELS: tuple[tuple[str, Callable[[Axes, Sequence[Row]], None]], ...] = (
    ("step", _step),
    ("convolutions", _estimators),
    ("groups", _groups),
    ("particles", _sweep("particles", "More particles", "particles", ratio=True)),
    ("observations", _sweep("observations", "More observations", "observations", ratio=False)),
    ("dims", _sweep("dim", "Larger latents", "size of content, and of style", ratio=False)),
    ("evidence", _evidence_time),
    ("evidence", _evidence_memory),
    ("encoding", _bars("Encoding")),
    ("feeding", _bars("Feeding")),
)
