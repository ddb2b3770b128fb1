"""How estimators look in figures: each keeps its colour, marker and line in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pyro_mlvae.plotting.style import COLOURS, CONTROL

Look = dict[str, Any]
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = COLOURS
LOOKS: dict[str, Look] = {
    "trace": {"color": BLACK, "marker": "o", "linestyle": "-"},
    "mean-field": {"color": BLUE, "marker": "s", "linestyle": "--"},
    "graph": {"color": BLACK, "marker": "x", "linestyle": ":"},
    "renyi": {"color": ORANGE, "marker": "D", "linestyle": ":"},
    "group-iwae": {"color": VERMILION, "marker": "^", "linestyle": "-"},
    "group-renyi": {"color": PURPLE, "marker": "v", "linestyle": "-."},
    "dreg": {"color": GREEN, "marker": "P", "linestyle": "--"},
    "miwae": {"color": VERMILION, "marker": "<", "linestyle": ":"},
    "piwae": {"color": VERMILION, "marker": ">", "linestyle": "--"},
    "ciwae": {"color": PURPLE, "marker": "p", "linestyle": "-"},
    "rws": {"color": GREEN, "marker": "d", "linestyle": ":"},
    "nested-iwae": {"color": ORANGE, "marker": "H", "linestyle": "-"},
    "stl": {"color": SKY, "marker": "*", "linestyle": "-"},
    "local": {"color": CONTROL, "marker": "X", "linestyle": "-."},
}


def look_of(name: str, linewidth: float = 1.4) -> Look:
    """The estimator's look, as arguments of ``Axes.plot``."""
    look = LOOKS.get(name, {"color": CONTROL, "marker": "h", "linestyle": ":"})
    size = 8.0 if look["marker"] == "*" else 5.5
    return {
        **look,
        "label": name,
        "linewidth": linewidth,
        "markersize": size,
        "markerfacecolor": "none",
    }


def with_legend(figure: Figure, comparison: Mapping[str, Any]) -> Figure:
    """One legend at the right, for all panels."""
    names = dict.fromkeys(row["estimator"] for row in comparison["rows"])
    lines = [Line2D([], [], **look_of(name)) for name in names]
    figure.legend(
        handles=lines, loc="outside right center", frameon=False, fontsize=9, handlelength=3.0
    )
    return figure
