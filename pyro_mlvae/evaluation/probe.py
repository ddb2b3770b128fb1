"""Probes: how well a classifier reads the label off a code.

A probe is trained on training codes of single observations and tested on held-out ones; for content
from k observations, on seeded random regroupings of the held-out observations of each group.
Grouping by the label that is read leaks it: content from k > 1 observations of an *untrained*
encoder reads well too, so these numbers mean something only beside that control.

Style is read in three ways. ``draws`` from the posterior are what the model itself calls style: the
decoder sees nothing else in training. ``loc`` may hold what noise drowns in the draws.
``loc_and_scale`` is all that the encoder says, with the logarithm of the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions import Normal
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.classifiers import choose_classifier
from pyro_mlvae.evaluation.standard_errors import of_groups
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode, experts, group_content
from pyro_mlvae.ops import mean_of, moments, product_of_normals

Scores = dict[str, float]
# From indices of observations and the new group of each to a code for each new group.
Together = Callable[[Tensor, Tensor], Tensor]
# Codes that are read at once: a support vector machine has a column for each pair of labels.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Probe:
    """A classifier of codes, of the kind that cross-validation on its training codes chose.

    Attributes:
        kind: one of :mod:`~pyro_mlvae.evaluation.classifiers`.
        classifier: fitted, with ``predict_proba`` and ``classes_``.

    >>> codes = torch.eye(3).repeat_interleave(9, 0)
    >>> probe = Probe.train(codes, codes.argmax(1))
    >>> probe.kind, probe.scores(codes, codes.argmax(1))["accuracy"]
    ('linear', 1.0)
    """

    kind: str
    classifier: Any

    @classmethod
    def train(
        cls, codes: Tensor, labels: Tensor, groups: Tensor | None = None, *, seed: int = 0
    ) -> Probe:
        """Choose the classifier and fit it.

        Args:
            codes: training codes, ``[N, dim]``.
            labels: the label of each, ``[N]``.
            groups: the group of each, ``[N]``; by default its label.
            seed: of the choice and of the classifier.

        Raises:
            InputError: there are fewer than two distinct labels, or fewer observations than folds.
        """
        groups = labels if groups is None else groups
        x = codes.double().cpu().numpy()
        return cls(*choose_classifier(x, labels.numpy(), groups.numpy(), seed=seed))

    def read(self, codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Whether each label was read right, ``[N]``, 0 or 1, and its surprise in nats, ``[N]``."""
        x, y = codes.double().cpu().numpy(), labels.numpy()
        known = self.classifier.classes_
        strange = y[~np.isin(y, known)]
        if len(strange):
            raise InputError(
                f"labels must be among the {len(known)} that the probe was trained on, got "
                f"{len(strange)} observation(s) of others (the first has label {strange[0]}): "
                f"train the probe on data that has every label, or leave these observations out"
            )
        chunks = np.array_split(x, max(1, len(x) // _AT_ONCE))
        with threadpool_limits(1):
            probability = np.concatenate([self.classifier.predict_proba(chunk) for chunk in chunks])
        own = probability[np.arange(len(y)), np.searchsorted(known, y)]
        right = known[probability.argmax(1)] == y
        return torch.from_numpy(right).double(), -torch.from_numpy(own + 1e-12).log()

    def scores(self, codes: Tensor, labels: Tensor) -> Scores:
        """``accuracy``, its ``standard_error``, and ``cross_entropy`` in nats of held-out codes.

        The cross-entropy is an upper bound on the conditional entropy of the label given the code.

        Raises:
            InputError: a label is none of those that the probe was trained on.
        """
        right, surprise = self.read(codes, labels)
        return {
            "accuracy": float(right.mean()),
            "standard_error": float(right.std(correction=0)) / len(right) ** 0.5,
            "cross_entropy": float(surprise.mean()),
        }


def style_codes(codes: Codes, *, seed: int = 0) -> dict[str, Tensor]:
    """What a probe of style reads of each observation: ``draws``, ``loc`` and ``loc_and_scale``.

    Args:
        codes: of observations, each alone: where style sees content, that of q(C | x_i).
        seed: of the draws; the caller's random state is left as it was.
    """
    loc, scale = moments(codes.style)
    with torch.random.fork_rng([loc.device] if loc.device.type == "cuda" else []):
        torch.manual_seed(seed)
        draws = codes.style.sample()
    return {"draws": draws, "loc": loc, "loc_and_scale": torch.cat([loc, scale.log()], -1)}


def probe_metrics(
    guide: GroupedGuide,
    train: GroupedDataset,
    test: GroupedDataset,
    *,
    ks: Sequence[int] = (1, 2, 5, 10, 50),
    regroupings: int = 50,
    whole: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Probe the style of single observations, and the content of k observations of a group.

    Args:
        guide: a guide, trained or not.
        train, test: observations on whose codes the probes are trained, and tested.
        ks: numbers of observations from which content is inferred.
        regroupings: of ``test``, for k > 1.
        whole: whether content and style are read together, too, as ``latent``: of a VAE, whose
            parts have no roles. From k observations the product of their Normals is read.
        seed: of draws, folds, classifiers and regroupings.

    Returns:
        ``{"classifier": text, "style": {"draws": scores, "loc": scores, "loc_and_scale": scores},
        "content": {"1": scores, ...}}``: the kind of classifier that was chosen for each code, such
        as "content: linear, style draws: hidden-layer, ...", and the scores of
        :meth:`Probe.scores`; those of a k for which no group of ``test`` is large enough are None.

    Raises:
        InputError: a label of ``test`` does not occur in ``train``, or that has a single one or
            fewer observations than folds.
    """
    train_codes, test_codes = encode(guide, train), encode(guide, test)
    known = style_codes(train_codes, seed=mixed_seed(seed, 0))
    held_out = style_codes(test_codes, seed=mixed_seed(seed, 1))
    kinds: dict[str, str] = {}

    def trained(name: str, codes: Tensor) -> Probe:
        probe = Probe.train(codes, train.label, train.group, seed=seed)
        kinds[name] = probe.kind
        return probe

    def by_k(name: str, codes: Tensor, alone: Tensor, together: Together) -> dict[str, Any]:
        probe = trained(name, codes)
        several = _scores_of_several(probe, together, test, ks, regroupings, seed)
        return {"1": probe.scores(alone, test.label), **several}

    def group_mean(index: Tensor, group: Tensor) -> Tensor:
        return mean_of(group_content(guide, test_codes, index, group))

    content = by_k("content", mean_of(train_codes.content), mean_of(test_codes.content), group_mean)
    style = {
        way: trained(f"style {way.replace('_', ' ')}", codes).scores(held_out[way], test.label)
        for way, codes in known.items()
    }
    found: dict[str, Any] = {"style": style, "content": content}
    if whole:
        latent = _whole_latent(guide, test_codes)

        def product(index: Tensor, group: Tensor) -> Tensor:
            index, group = index.to(latent.loc.device), group.to(latent.loc.device)
            count = int(group.max()) + 1
            return product_of_normals(latent.loc[index], latent.scale[index], group, count)[0]

        of_train = _whole_latent(guide, train_codes).loc
        found["latent"] = by_k("latent", of_train, latent.loc, product)
    return {"classifier": ", ".join(f"{name}: {kind}" for name, kind in kinds.items()), **found}


def vae_probe_metrics(
    guide: GroupedGuide, train: GroupedDataset, test: GroupedDataset, **options: Any
) -> dict[str, Any]:
    """:func:`probe_metrics` of a VAE, ``whole=True``, with its other ``options``."""
    return probe_metrics(guide, train, test, whole=True, **options)


def _scores_of_several(
    probe: Probe,
    together: Together,
    test: GroupedDataset,
    ks: Sequence[int],
    regroupings: int,
    seed: int,
) -> dict[str, Scores | None]:
    """The scores for every k above 1, on random regroupings of the observations of each group."""
    result: dict[str, Scores | None] = {}
    for k in (k for k in ks if k > 1):
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
        right, surprise = probe.read(together(index, group), label)
        result[str(k)] = {
            "accuracy": float(right.mean()),
            "standard_error": of_groups(right, index, group),
            "cross_entropy": float(surprise.mean()),
        }
    return result


def _whole_latent(guide: GroupedGuide, codes: Codes) -> Normal:
    parts = (experts(guide, codes), codes.style_normal)
    return Normal(torch.cat([n.loc for n in parts], -1), torch.cat([n.scale for n in parts], -1))
