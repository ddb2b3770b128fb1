"""Training curves."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.plotting.style import COLOURS, CONTROL, new_figure, plain, tidy
from pyro_mlvae.training import History


@plain
def training_curves(history: History, units: str = "nats") -> Figure:
    """The ELBO and its terms against the epoch: training drawn, held-out dashed.

    The ELBO depends on how many observations a group has, so the legend says it of both.
    """
    figure = new_figure(9.0, 3.2)
    panels = figure.subplots(1, 3)
    epochs = [record.epoch for record in history.epochs]
    measured = [record for record in history.epochs if record.validation is not None]
    terms = [record.terms.per_observation() for record in history.epochs]
    held_out = [
        (r.epoch, r.validation.per_observation()) for r in measured if r.validation is not None
    ]
    of_training = _groups([record.terms for record in history.epochs])
    of_held_out = _groups([r.validation for r in measured if r.validation is not None])
    sites = [name for name in (terms[0] if terms else {}) if name.startswith("kl_")]
    for axes, names, title in zip(
        panels,
        (["elbo"], ["reconstruction"], sites),
        ("ELBO", "Reconstruction", "Divergence from the prior"),
        strict=True,
    ):
        for name, colour in zip(names, COLOURS, strict=False):
            label = name.removeprefix("kl_") if name in sites else f"training{of_training}"
            axes.plot(
                epochs, [term[name] for term in terms], color=colour, label=label, linewidth=1.3
            )
            if held_out:
                axes.plot(
                    [epoch for epoch, _ in held_out],
                    [term[name] for _, term in held_out],
                    color=colour if name in sites else CONTROL,
                    linestyle="--",
                    linewidth=1.3,
                    label=f"{label}, held out" if name in sites else f"held out{of_held_out}",
                )
        # The first epochs start so far below that they would flatten all the others.
        settled = [term[name] for name in names for term in terms[len(terms) // 20 :]]
        if names != sites and len(set(settled)) > 1:
            margin = 0.1 * (max(settled) - min(settled))
            axes.set_ylim(min(settled) - margin, max(settled) + margin)
        tidy(axes).set(title=title, xlabel="epoch", ylabel=f"{units} per observation")
        axes.title.set_fontsize(11)
        if names:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _groups(terms: Sequence[ElboTerms]) -> str:
    """How many observations a group has on average, as a part of a label."""
    observations, groups = sum(t.observations for t in terms), sum(t.groups for t in terms)
    if not groups:
        return ""
    return f", groups of {observations / groups:.3g}"
