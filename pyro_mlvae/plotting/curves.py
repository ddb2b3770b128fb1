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

    The ELBO depends on how many observations a group has, so training is drawn on a part of the
    held-out groups' sizes where a run has measured one, and otherwise on the minibatches. The
    legend says of both how large their groups are.
    """
    figure = new_figure(9.0, 3.2)
    panels = figure.subplots(1, 3)
    records = history.epochs
    training = {r.epoch: r.training_part for r in records if r.training_part is not None}
    training = training or {r.epoch: r.terms for r in records}
    held_out = {r.epoch: r.validation for r in records if r.validation is not None}
    drawn = (("training", "-", training), ("held out", "--", held_out))
    first = next(iter(training.values()), ElboTerms())
    for axes, names, title in zip(
        panels,
        (["elbo"], ["reconstruction"], [f"kl_{site}" for site in first.kl]),
        ("ELBO", "Reconstruction", "Divergence from the prior"),
        strict=True,
    ):
        settled: list[float] = []
        for name, colour in zip(names, COLOURS, strict=False):
            for part_name, line, terms in drawn:
                values = [of.per_observation()[name] for of in terms.values()]
                label = f"{part_name}{_groups([*terms.values()])}"
                if name.startswith("kl_"):
                    label = name.removeprefix("kl_") + (", held out" if line == "--" else "")
                elif line == "--":
                    colour = CONTROL
                if values:
                    axes.plot([*terms], values, line, color=colour, label=label, linewidth=1.3)
                # The first epochs start so far below that they would flatten all the others.
                settled += values[len(values) // 20 :]
        if len(set(settled)) > 1 and not title.startswith("Divergence"):
            margin = 0.1 * (max(settled) - min(settled))
            axes.set_ylim(min(settled) - margin, max(settled) + margin)
        tidy(axes).set(title=title, xlabel="epoch", ylabel=f"{units} per observation")
        axes.title.set_fontsize(11)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _groups(terms: Sequence[ElboTerms]) -> str:
    """How many observations a group has on average, as a part of a label."""
    observations, groups = sum(t.observations for t in terms), sum(t.groups for t in terms)
    if not groups:
        return ""
    return f", groups of {observations / groups:.3g}"
