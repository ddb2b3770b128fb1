"""What a run found, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary(metrics: Mapping[str, Any]) -> str:
    """The numbers of metrics.json that a person asks for first, each beside its control."""
    elbo, probe = metrics["elbo"], metrics["probe"]
    units = elbo["units"]
    lines = [
        f"ELBO on {elbo['observations']} held-out observations in {elbo['groups']} groups of at most "
        f"{elbo['observations_per_group']}:",
        f"  {elbo['per_observation']:.2f} {units} per observation ({elbo['per_group']:.2f} per group)",
        f"  = reconstruction {elbo['reconstruction']:.2f} - KL style {elbo['kl_style']:.2f} "
        f"- KL content {elbo['kl_content']:.2f}",
        "",
        "How well a probe reads the label       trained  untrained  chance",
    ]
    rows = [("style (low is good)", probe["style"], probe["untrained"]["style"])]
    rows += [
        (f"content of {k} observation{'s' if k != '1' else ''}", scores, probe["untrained"]["content"][k])
        for k, scores in probe["content"].items()
    ]
    lines += [
        f"  {name:36} {scores['accuracy']:7.3f}  {control['accuracy']:9.3f}  {probe['chance']:6.3f}"
        for name, scores, control in rows
        if scores is not None
    ]
    return "\n".join(lines)
