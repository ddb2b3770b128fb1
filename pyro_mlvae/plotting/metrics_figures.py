"""Figures made of metrics.json: each takes one part of it, as ``evaluate`` returns it.

What is None there, because it is not defined or was not measured, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FormatStrFormatter,
    FuncFormatter,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from pyro_mlvae.plotting.style import (
    COLOURS,
    CONTENT,
    CONTROL,
    STYLE,
    new_figure,
    plain,
    tidy,
    wide_figure,
)

Look = dict[str, Any]
# What is compared is told apart by marker and line too, so that it reads without any colour.
MARKERS = "osD^vP*X"
TRAINED: Look = {"color": CONTENT, "marker": "o", "linestyle": "-"}
VAE: Look = {"color": COLOURS[2], "marker": "s", "linestyle": "--"}
PIXELS: Look = {"color": COLOURS[4], "marker": "D", "linestyle": ":"}
UNTRAINED: Look = {"color": CONTROL, "marker": "^", "linestyle": "-.", "markerfacecolor": "white"}
CHANCE: Look = {"color": "black", "linestyle": (0, (1, 2)), "linewidth": 1.0}


@plain
def evidence_figure(probe: Mapping[str, Any] | None, evidence: Mapping[str, Any]) -> Figure:
    """A probe's errors, and the posterior's scale, against the observations of a group.

    Args:
        probe: the ``probe`` of metrics.json; without it only the posterior is drawn.
        evidence: the ``evidence`` of metrics.json.
    """
    figure = wide_figure(4.6 if probe is None else 8.8, 3.5)
    panels = figure.subplots(1, 1 if probe is None else 2, squeeze=False)[0]
    if probe is not None:
        _draw_errors(panels[0], probe)
    _draw_scales(panels[-1], evidence)
    return figure


@plain
def probe_figure(probe: Mapping[str, Any]) -> Figure:
    """How much of the label a probe reads off content, and how much off style, of one observation.

    Args:
        probe: the ``probe`` of metrics.json; bars end in the standard errors there.
    """
    vae, untrained = probe["vae"], probe["untrained"]
    codes: list[tuple[str, str, Callable[[Any], Any]]] = [
        ("Content", CONTENT, lambda of: of["content"]["1"]),
        ("Style, a draw", STYLE, lambda of: of["style"]["draws"]),
        ("Style, loc", STYLE, lambda of: of["style"]["loc"]),
        ("Style, loc and scale", STYLE, lambda of: of["style"]["loc_and_scale"]),
    ]
    bars = []
    for code, colour, pick in codes:
        bars.append((code, "trained", pick(probe), colour))
        if vae is not None:
            bars.append((code, "plain VAE, same dimensions", pick(vae), VAE["color"]))
        bars.append((code, "untrained", pick(untrained), CONTROL))
    if vae is not None:
        bars.append(("Content and style", "plain VAE", vae["latent"]["1"], VAE["color"]))
    names = list(dict.fromkeys(code for code, *_ in bars))
    # Every code has a row for its name, above those of its bars.
    rows = [place + names.index(code) + 1 for place, (code, *_) in enumerate(bars)]
    heads = [
        min(row for row, bar in zip(rows, bars, strict=True) if bar[0] == code) - 1
        for code in names
    ]
    figure = new_figure(6.4, 0.9 + 0.26 * (len(rows) + len(heads)))
    axes = tidy(figure.subplots())
    for row, (_, _, scores, colour) in zip(rows, bars, strict=True):
        accuracy, error = scores["accuracy"], scores["standard_error"]
        axes.barh(row, accuracy, 0.74, color=colour)
        axes.errorbar(accuracy, row, xerr=error, ecolor="black", elinewidth=1.0, capsize=2.0)
        text: Look = {"va": "center", "fontsize": 8.5, "bbox": {"color": "white", "pad": 0.5}}
        axes.text(accuracy + error + 0.012, row, f"{accuracy:.1%}", **text)
    axes.set_yticks([*rows, *heads], [*(name for _, name, *_ in bars), *names], fontsize=9)
    for label in axes.get_yticklabels()[len(rows) :]:
        label.set_fontweight("bold")
    axes.axvline(probe["chance"], **CHANCE)
    axes.annotate(
        "chance",
        (probe["chance"], 1.01),
        xycoords=("data", "axes fraction"),
        ha="center",
        fontsize=8.5,
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlim=(0.0, 1.1), ylim=(max(rows) + 0.6, -0.5), xticks=[0.0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("accuracy, with standard error")
    axes.set_title("What a probe reads off one held-out observation", fontsize=11, pad=18)
    return figure


@plain
def few_shot_figure(unseen: Mapping[str, Any]) -> Figure:
    """Groups never seen in training, told apart by content: few-shot accuracy, and verification.

    Args:
        unseen: the ``unseen`` of metrics.json; the scores of a ``vae`` are drawn where it has them.
    """
    trained = {**unseen["shots"], "verification_auc": unseen["verification_auc"]}
    everyone = {
        "trained": (trained, TRAINED),
        "plain VAE": (unseen.get("vae"), VAE),
        "pixels": (unseen["pixels"], PIXELS),
        "untrained": (unseen["untrained"], UNTRAINED),
    }
    compared = [
        (name, scores, look) for name, (scores, look) in everyone.items() if scores is not None
    ]
    shots = [k for k, scores in unseen["shots"].items() if scores is not None]
    figure = wide_figure(8.4, 3.5)
    left, right = figure.subplots(1, 2, width_ratios=(max(len(shots), 1), 1))
    width = 0.8 / len(compared)
    for place, (name, scores, look) in enumerate(compared):
        offset = (place - (len(compared) - 1) / 2) * width
        known = [(i, scores[k]) for i, k in enumerate(shots) if scores.get(k) is not None]
        mark = {**look, "linestyle": "none", "markersize": 6.5, "capsize": 3.0, "label": name}
        at = [i + offset for i, _ in known]
        accuracy = [score["accuracy"] for _, score in known]
        left.errorbar(at, accuracy, [score["standard_error"] for _, score in known], **mark)
        _write_values(left, at, accuracy)
        auc = scores.get("verification_auc")
        if auc is not None:
            right.plot([offset], [auc], **{**look, "linestyle": "none", "markersize": 6.5})
            _write_values(right, [offset], [auc])
    for axes, chance in ((left, unseen["chance"]), (right, 0.5)):
        axes.axhline(chance, **CHANCE)
        note: Look = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "top"}
        axes.annotate("chance", (1.0, chance), fontsize=8.5, **note)
        tidy(axes).grid(visible=False, axis="x")
        axes.set_ylim(0.0, 1.04)
    names = [f"{k} shot{'s' if k != '1' else ''}" for k in shots]
    left.set_xticks(range(len(shots)), names)
    left.set(xlim=(-0.5, max(len(shots), 1) - 0.5), ylabel="accuracy, with standard error")
    left.set_title(f"Which of {unseen['ways']} unseen groups?", fontsize=11)
    right.set_xticks([0], ["two observations"])
    right.set(xlim=(-0.5, 0.5), ylabel="area under the ROC curve")
    right.set_title("The same group?", fontsize=11)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9
    )
    return figure


def _draw_errors(axes: Axes, probe: Mapping[str, Any]) -> None:
    """Error rates of probes of content against k, on a logarithmic axis that still has a zero."""
    curves: list[tuple[str, Mapping[str, Any], Look]] = [
        ("trained, content", probe["content"], TRAINED),
        ("plain VAE, content and style", (probe["vae"] or {}).get("latent", {}), VAE),
        ("untrained, content", probe["untrained"]["content"], UNTRAINED),
    ]
    ks: set[int] = set()
    smallest = 0.1
    for name, scores, look in curves:
        if not scores:
            continue
        known = {int(k): score for k, score in scores.items() if score is not None}
        measured = dict(sorted(known.items()))
        # Rounded, so that a mean of ones that falls short by rounding makes no error of 1e-16.
        errors = [round(1.0 - score["accuracy"], 9) for score in measured.values()]
        axes.plot([*measured], errors, label=name, linewidth=1.5, **look)
        bars = [score["standard_error"] for score in measured.values()]
        axes.errorbar([*measured], errors, bars, fmt="none", ecolor=look["color"], elinewidth=1.0)
        ks |= {*measured}
        smallest = min([smallest, *(error for error in errors if error > 0.0)])
    axes.axhline(1.0 - probe["chance"], label="chance", **CHANCE)
    lowest = math.floor(math.log10(smallest))
    axes.set_xscale("log")
    # Linear between zero and the smallest power of ten that is needed, so that no error is drawn as
    # none.
    axes.set_yscale("symlog", linthresh=10.0**lowest, linscale=0.4)
    axes.set_yticks([0.0, *(10.0**power for power in range(lowest, 1))])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * error:g}%"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.3 * 10.0**lowest, 1.6)
    tidy(axes).set(xlabel="observations of the group, k", ylabel="errors of a probe")
    _tick_at(axes, sorted(ks))
    axes.set_title("Labels read off k observations", fontsize=11)
    # Below the line of chance.
    axes.legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.93))


def _draw_scales(axes: Axes, evidence: Mapping[str, Any]) -> None:
    """The scale of content's posterior against k, beside the prior's and the square-root law."""
    axes.axhline(1.0, label="prior", **CHANCE)
    shown: list[int] = []
    for name, key, look in (
        ("trained", "content_scale", TRAINED),
        ("plain VAE", "vae", VAE),
        ("untrained", "untrained", UNTRAINED),
    ):
        pairs = zip(evidence["k"], evidence[key] or [], strict=False)
        known = [(k, scale) for k, scale in pairs if scale is not None]
        ks, scales = [k for k, _ in known], [scale for _, scale in known]
        if key == "content_scale":
            law = [scales[0] * (ks[0] / k) ** 0.5 for k in ks]
            axes.plot(ks, law, color=CONTROL, linestyle="--", linewidth=1.2, label=r"$1/\sqrt{k}$")
            shown = ks
        if evidence[key] is not None:
            axes.plot(ks, scales, linewidth=1.5, label=name, **look)
    tidy(axes).set(
        xlabel="observations of the group, k", ylabel=r"mean scale of $q(C \mid x_1 \ldots x_k)$"
    )
    axes.set(xscale="log", yscale="log")
    _tick_at(axes, shown)
    for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        ticks(FormatStrFormatter("%.2g"))
    axes.set_title("Scale of content's posterior", fontsize=11)
    axes.legend(frameon=False, fontsize=8)


def _tick_at(axes: Axes, ks: list[int]) -> None:
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())


def _write_values(axes: Axes, places: list[float], values: list[float]) -> None:
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            f"{value:.2f}",
            (place, value),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
