"""Figures made of numbers: training curves, and the posterior against the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter, ScalarFormatter

from pyro_mlvae.plotting.style import COLOURS, CONTENT, CONTROL, new_figure, tidy
from pyro_mlvae.training import History


def training_curves(history: History, units: str = "nats") -> Figure:
    """The ELBO and its terms against the epoch: training drawn, held-out dashed."""
    figure = new_figure(9.0, 3.2)
    panels = figure.subplots(1, 3)
    epochs = [record.epoch for record in history.epochs]
    measured = [record for record in history.epochs if record.validation is not None]
    terms = [record.terms.per_observation() for record in history.epochs]
    held_out = [(r.epoch, r.validation.per_observation()) for r in measured if r.validation is not None]
    sites = [name for name in (terms[0] if terms else {}) if name.startswith("kl_")]
    for axes, names, title in zip(
        panels,
        (["elbo"], ["reconstruction"], sites),
        ("ELBO", "Reconstruction", "Divergence from the prior"),
        strict=True,
    ):
        for name, colour in zip(names, COLOURS, strict=False):
            label = name.removeprefix("kl_") if name in sites else "training"
            axes.plot(epochs, [term[name] for term in terms], color=colour, label=label, linewidth=1.3)
            axes.plot(
                [epoch for epoch, _ in held_out],
                [term[name] for _, term in held_out],
                color=colour if name in sites else CONTROL,
                linestyle="--",
                linewidth=1.3,
                label=f"{label}, held out" if name in sites else "held out",
            )
        # The first epochs start so far below that they would flatten all the others.
        settled = [term[name] for name in names for term in terms[len(terms) // 20 :]]
        if names != sites and len(set(settled)) > 1:
            margin = 0.1 * (max(settled) - min(settled))
            axes.set_ylim(min(settled) - margin, max(settled) + margin)
        tidy(axes).set(title=title, xlabel="epoch", ylabel=f"{units} per observation")
        axes.title.set_fontsize(11)
        axes.legend(frameon=False, fontsize=8)
    return figure


def evidence_curve(ks: Sequence[int], content_scale: Sequence[float | None]) -> Figure:
    """The scale of content's posterior against the number of observations that it rests on."""
    known = [(k, scale) for k, scale in zip(ks, content_scale, strict=True) if scale is not None]
    figure = new_figure(4.6, 3.4)
    axes = tidy(figure.subplots())
    axes.axhline(1.0, color=CONTROL, linestyle=":", linewidth=1.2, label="prior")
    if known:
        first_k, first = known[0]
        axes.plot(
            [k for k, _ in known],
            [first * (first_k / k) ** 0.5 for k, _ in known],
            color=CONTROL,
            linestyle="--",
            linewidth=1.2,
            label=r"$1/\sqrt{k}$",
        )
        axes.plot(*zip(*known, strict=True), "o-", color=CONTENT, linewidth=1.5, label="posterior")
    axes.set(
        title="Evidence sharpens content",
        xlabel="observations of the group, k",
        ylabel=r"mean scale of $q(C \mid x_1 \ldots x_k)$",
        xscale="log",
        yscale="log",
    )
    axes.set_xticks([k for k, _ in known])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        ticks(FormatStrFormatter("%.2g"))
    axes.title.set_fontsize(11)
    axes.legend(frameon=False, fontsize=8)
    return figure
