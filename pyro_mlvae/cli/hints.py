"""What to do next, where a number of a run asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyro_mlvae.runs.options import ModelOptions, ObjectiveOptions
from pyro_mlvae.runs.page import above

# With it style fell to chance where it had told the label: docs/style-leak.md.
_HSIC = 100
_EASY = 0.9


def hints(
    metrics: Mapping[str, Any],
    *,
    hsic: float = ObjectiveOptions.hsic,
    network: str = ModelOptions.network,
) -> list[str]:
    """A sentence for each number that asks for something, with the option that may help.

    Args:
        metrics: as metrics.json has them.
        hsic: the weight of HSIC in training, which is not advised to who has it.
        network: of the run; convolutions do without a pose.
    """
    return [*_of_probe(metrics["probe"], hsic), *_of_unseen(metrics["unseen"], network)]


def _of_probe(probe: Mapping[str, Any] | None, hsic: float) -> Iterator[str]:
    if probe is None:
        return
    style, control = (of["style"].get("draws") for of in (probe, probe["untrained"]))
    if style and control and above(style, probe["chance"]) and above(style, control):
        remedy = "a smaller --style-dim" if hsic else f"--hsic {_HSIC}"
        yield (
            f"style still tells the label ({style['accuracy']:.3f}, chance {probe['chance']:.3f}): "
            f"try {remedy}"
        )
    content, control = (of["content"].get("1") for of in (probe, probe["untrained"]))
    # Where even an untrained network's tells it, there is nothing left to be better at.
    if content and control and control["accuracy"] < _EASY and not above(content, control):
        yield (
            f"content tells the label no better than an untrained network's "
            f"({content['accuracy']:.3f} and {control['accuracy']:.3f}): try more --steps"
        )


def _of_unseen(unseen: Mapping[str, Any] | None, network: str) -> Iterator[str]:
    if unseen is None or unseen["ways"] is None:
        return
    ways, shot, control = unseen["ways"], unseen["shots"].get("1"), unseen["untrained"].get("1")
    if shot and control and not above(shot, control):
        yield (
            f"content tells unseen groups apart no better than an untrained network's ({ways}-way "
            f"1-shot, {shot['accuracy']:.3f} and {control['accuracy']:.3f}): try more --steps, or "
            "more groups"
        )
    elif shot and shot["accuracy"] < _EASY and network == "conv":
        yield (
            f"content tells unseen groups apart in {shot['accuracy']:.3f} of cases ({ways}-way "
            f"1-shot): try --preset unseen-images"
        )
