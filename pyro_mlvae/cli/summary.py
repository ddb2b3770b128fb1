"""What a run found, in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary(metrics: Mapping[str, Any]) -> str:
    """The numbers of metrics.json that a person asks for first, each beside its control."""
    elbo, probe, unseen = metrics["elbo"], metrics["probe"], metrics["unseen"]
    units = elbo["units"]
    lines = [
        f"ELBO on {elbo['observations']} held-out observations in {elbo['groups']} groups of at most "
        f"{elbo['observations_per_group']}:",
        f"  {elbo['per_observation']:.2f} {units} per observation ({elbo['per_group']:.2f} per group)",
        f"  = reconstruction {elbo['reconstruction']:.2f} - KL style {elbo['kl_style']:.2f} "
        f"- KL content {elbo['kl_content']:.2f}",
    ]
    if probe is not None:
        lines += ["", *_probe_lines(probe)]
    if unseen is not None:
        lines += ["", *_unseen_lines(unseen)]
    return "\n".join(lines)


def _probe_lines(probe: Mapping[str, Any]) -> list[str]:
    rows = [("style (low is good)", probe["style"], probe["untrained"]["style"])]
    rows += [
        (f"content of {k} observation{'s' if k != '1' else ''}", scores, probe["untrained"]["content"][k])
        for k, scores in probe["content"].items()
    ]
    return [
        "How well a probe reads the label       trained  untrained  chance",
        *(
            f"  {name:36} {scores['accuracy']:7.3f}  {control['accuracy']:9.3f}  {probe['chance']:6.3f}"
            for name, scores, control in rows
            if scores is not None
        ),
    ]


def _unseen_lines(unseen: Mapping[str, Any]) -> list[str]:
    ways = unseen["ways"]
    return [
        f"Telling {unseen['groups']} unseen groups apart            trained  untrained  pixels  chance",
        *(
            f"  {f'{ways}-way {k}-shot':36} {scores['accuracy']:7.3f}  "
            f"{unseen['untrained'][k]['accuracy']:9.3f}  {unseen['pixels'][k]['accuracy']:6.3f}  "
            f"{unseen['chance']:6.3f}"
            for k, scores in unseen["shots"].items()
            if scores is not None
        ),
        f"  same group or not, ROC AUC           {unseen['verification_auc']:7.3f}",
    ]
