"""Probes: how well a classifier reads the label off a code.

A probe is trained on training codes of single observations and tested on held-out ones; for content
from k observations, on seeded random regroupings of the held-out observations of each group.
Grouping by the very label that is read leaks it, so that content from k > 1 observations of an
*untrained* encoder reads well too: those numbers mean something only beside that control.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions import Normal
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.errors import InputError
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode, experts, group_content
from pyro_mlvae.ops import mean_of, moments, product_of_normals

Scores = dict[str, float]


@dataclass(frozen=True)
class Probe:
    """Two classifiers of the same codes: one hidden layer of 256, and a linear one."""

    mlp: Any
    linear: Any

    @classmethod
    def train(cls, codes: Tensor, labels: Tensor, *, seed: int = 0) -> Probe:
        """Fit both on ``codes [N, dim]`` and ``labels [N]``; codes are standardised.

        Raises:
            InputError: there are fewer than two distinct labels.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        x, y = codes.double().cpu().numpy(), labels.numpy()
        if len(np.unique(y)) < 2:
            raise InputError(
                f"labels must hold at least two distinct ones, got {len(np.unique(y))} in {len(y)} "
                f"observation(s): train the probe on data of several labels, or do without it"
            )
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

        Raises:
            InputError: a label is none of those that the probe was trained on.
        """
        x, y = codes.double().cpu().numpy(), labels.numpy()
        strange = y[~np.isin(y, self.mlp.classes_)]
        if len(strange):
            raise InputError(
                f"labels must be among the {len(self.mlp.classes_)} that the probe was trained on, got "
                f"{len(strange)} observation(s) of others (the first has label {strange[0]}): train the "
                f"probe on data that has every label, or leave these observations out"
            )
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

    Raises:
        InputError: a label of ``test`` does not occur in ``train``, or that has a single one.
    """
    codes = encode(guide, train), encode(guide, test)
    return _content_and_style(guide, train, test, *codes, ks, regroupings, seed)


def _content_and_style(
    guide: GroupedGuide,
    train: GroupedDataset,
    test: GroupedDataset,
    train_codes: Codes,
    test_codes: Codes,
    ks: Sequence[int],
    regroupings: int,
    seed: int,
) -> dict[str, Any]:
    style = Probe.train(mean_of(train_codes.style), train.label, seed=seed)
    content = Probe.train(mean_of(train_codes.content), train.label, seed=seed)
    return {
        "style": style.scores(mean_of(test_codes.style), test.label),
        "content": {
            "1": content.scores(mean_of(test_codes.content), test.label),
            **_from_several(guide, content, test_codes, test, ks, regroupings, seed),
        },
    }


def vae_probe_metrics(
    guide: GroupedGuide,
    train: GroupedDataset,
    test: GroupedDataset,
    *,
    ks: Sequence[int] = (1, 2, 5, 10, 50),
    regroupings: int = 50,
    seed: int = 0,
) -> dict[str, Any]:
    """:func:`probe_metrics` of a VAE, whose parts have no roles, and ``"latent"``: of both together.

    From k observations of a group, the product of their Normals is read, as of an ML-VAE's content.
    """
    codes = encode(guide, train), encode(guide, test)
    train_latent, test_latent = (_whole_latent(guide, each) for each in codes)
    latent = Probe.train(train_latent.loc, train.label, seed=seed)
    return {
        **_content_and_style(guide, train, test, *codes, ks, regroupings, seed),
        "latent": {
            "1": latent.scores(test_latent.loc, test.label),
            **_latents_of_several(latent, test_latent, test, ks, regroupings, seed),
        },
    }


def evidence_metrics(
    guide: GroupedGuide,
    test: GroupedDataset,
    *,
    ks: Sequence[int] = (1, 2, 5, 10),
    codes: Codes | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """How the posterior of content narrows: its scale, averaged over groups of k and dimensions."""
    codes = codes or encode(guide, test)
    scales: list[float | None] = []
    for k in ks:
        generator = torch.Generator().manual_seed(seed)
        index, group = regroup(test.group, k, generator, drop_smaller=True)
        if len(index):
            _, scale = moments(group_content(guide, codes, index, group))
            scales.append(float(scale.mean()))
        else:
            scales.append(None)
    return {"k": list(ks), "content_scale": scales}


def _from_several(
    guide: GroupedGuide,
    probe: Probe,
    codes: Codes,
    test: GroupedDataset,
    ks: Sequence[int],
    regroupings: int,
    seed: int,
) -> dict[str, Scores | None]:
    """The probe's scores on what k > 1 observations of a group say together."""

    def content(index: Tensor, group: Tensor) -> Tensor:
        return mean_of(group_content(guide, codes, index, group))

    return _scores_of_several(probe, content, test, ks, regroupings, seed)


def _latents_of_several(
    probe: Probe,
    latent: Normal,
    test: GroupedDataset,
    ks: Sequence[int],
    regroupings: int,
    seed: int,
) -> dict[str, Scores | None]:
    """The same of a VAE's whole latent: the product of the observations' Normals."""

    def product(index: Tensor, group: Tensor) -> Tensor:
        index, group = index.to(latent.loc.device), group.to(latent.loc.device)
        loc, scale = latent.loc[index], latent.scale[index]
        return product_of_normals(loc, scale, group, int(group.max()) + 1)[0]

    return _scores_of_several(probe, product, test, ks, regroupings, seed)


def _scores_of_several(
    probe: Probe,
    point: Callable[[Tensor, Tensor], Tensor],
    test: GroupedDataset,
    ks: Sequence[int],
    regroupings: int,
    seed: int,
) -> dict[str, Scores | None]:
    result: dict[str, Scores | None] = {}
    for k in ks:
        if k == 1:
            continue
        generator = torch.Generator().manual_seed(seed)
        rounds = [regroup(test.group, k, generator, drop_smaller=True) for _ in range(regroupings)]
        index = torch.cat([index for index, _ in rounds])
        if not len(index):
            result[str(k)] = None
            continue
        # All the regroupings at once: they make equally many groups, numbered one after the other.
        count = int(rounds[0][1].max()) + 1
        group = torch.cat([group + number * count for number, (_, group) in enumerate(rounds)])
        label = torch.empty(count * regroupings, dtype=torch.int64)
        label[group] = test.label[index]
        result[str(k)] = probe.scores(point(index, group), label)
    return result


def _whole_latent(guide: GroupedGuide, codes: Codes) -> Normal:
    parts = (experts(guide, codes), codes.style_normal)
    return Normal(torch.cat([n.loc for n in parts], -1), torch.cat([n.scale for n in parts], -1))
