"""Probes: how well a classifier reads the label off a code.

A probe is trained on training codes of single observations and tested on held-out ones; for content
from k observations, on seeded random regroupings of the held-out observations of each group.
Grouping by the very label that is read leaks it, so that content from k > 1 observations of an
*untrained* encoder reads well too: those numbers mean something only beside that control.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.inference import encode, group_content

Scores = dict[str, float]


@dataclass(frozen=True)
class Probe:
    """Two classifiers of the same codes: one hidden layer of 256, and a linear one."""

    mlp: Any
    linear: Any

    @classmethod
    def train(cls, codes: Tensor, labels: Tensor, *, seed: int = 0) -> Probe:
        """Fit both on ``codes [N, dim]`` and ``labels [N]``; codes are standardised."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        x, y = codes.double().cpu().numpy(), labels.numpy()
        mlp = MLPClassifier((256,), alpha=1e-3, max_iter=100, random_state=seed)
        linear = LogisticRegression(max_iter=1000)
        # Its matrices are far too small for threads, which only get into each other's way.
        with threadpool_limits(1), warnings.catch_warnings():
            # Stopping after a fixed number of epochs is the probe's definition, not a failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return cls(
                make_pipeline(StandardScaler(), mlp).fit(x, y),
                make_pipeline(StandardScaler(), linear).fit(x, y),
            )

    def scores(self, codes: Tensor, labels: Tensor) -> Scores:
        """``accuracy``, ``cross_entropy`` in nats, and ``linear_accuracy`` of held-out codes.

        The cross-entropy is an upper bound on the conditional entropy of the label given the code.
        """
        x, y = codes.double().cpu().numpy(), labels.numpy()
        with threadpool_limits(1):
            probability = self.mlp.predict_proba(x)
            linear_accuracy = float(self.linear.score(x, y))
        column = np.searchsorted(self.mlp.classes_, y)
        return {
            "accuracy": float((self.mlp.classes_[probability.argmax(1)] == y).mean()),
            "cross_entropy": float(-np.log(probability[np.arange(len(y)), column] + 1e-12).mean()),
            "linear_accuracy": linear_accuracy,
        }


def probe_metrics(
    guide: GroupedGuide,
    train: GroupedDataset,
    test: GroupedDataset,
    *,
    ks: Sequence[int] = (1, 2, 5, 10, 50),
    regroupings: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """Probe the style of single observations, and the content of k observations of a group.

    Returns:
        ``{"style": scores, "content": {"1": scores, ...}}``; the scores of a k for which no group
        of ``test`` is large enough are None.
    """
    train_codes, test_codes = encode(guide, train), encode(guide, test)
    style = Probe.train(train_codes.style.loc, train.label, seed=seed)
    content = Probe.train(train_codes.content.loc, train.label, seed=seed)
    result: dict[str, Any] = {
        "style": style.scores(test_codes.style.loc, test.label),
        "content": {"1": content.scores(test_codes.content.loc, test.label)},
    }
    for k in ks:
        if k == 1:
            continue
        generator = torch.Generator().manual_seed(seed)
        rounds = []
        for _ in range(regroupings):
            index, group = regroup(test.group, k, generator, drop_smaller=True)
            if not len(index):
                break
            posterior = group_content(guide, test_codes.expert, test, index, group)
            rounds.append(content.scores(posterior.loc, _label_of_groups(test, index, group)))
        result["content"][str(k)] = _mean(rounds)
    return result


def evidence_metrics(
    guide: GroupedGuide, test: GroupedDataset, *, ks: Sequence[int] = (1, 2, 5, 10), seed: int = 0
) -> dict[str, Any]:
    """How the posterior of content narrows: its scale, averaged over groups of k and dimensions."""
    codes = encode(guide, test)
    scales: list[float | None] = []
    for k in ks:
        generator = torch.Generator().manual_seed(seed)
        index, group = regroup(test.group, k, generator, drop_smaller=True)
        if len(index):
            posterior = group_content(guide, codes.expert, test, index, group)
            scales.append(float(posterior.scale.mean()))
        else:
            scales.append(None)
    return {"k": list(ks), "content_scale": scales}


def _label_of_groups(data: GroupedDataset, index: Tensor, group: Tensor) -> Tensor:
    label = torch.empty(int(group.max()) + 1, dtype=torch.int64)
    label[group] = data.label[index]
    return label


def _mean(rounds: list[Scores]) -> Scores | None:
    if not rounds:
        return None
    return {name: float(np.mean([scores[name] for scores in rounds])) for name in rounds[0]}
