"""Probes: how well a classifier reads the label off a code.

A probe is trained on training codes of single observations and tested on held-out ones; for content
from k observations, on seeded random regroupings of the held-out observations of each group.
Grouping by the very label that is read leaks it, so that content from k > 1 observations of an
*untrained* encoder reads well too: those numbers mean something only beside that control.

Style is read in three ways. ``draws``, one draw from the posterior of each observation, are what
the model itself calls style: the decoder sees nothing else in training. ``loc`` may hold what the
draws drown in noise: an untrained loc varies by a tenth of its scale, and is a projection of x all
the same. ``loc_and_scale`` is all that the encoder says, with the logarithm of the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.distributions import Normal
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError
from pyro_mlvae.evaluation.classifiers import choose_classifier
from pyro_mlvae.evaluation.regroupings import scores_of_several
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode, experts, group_content
from pyro_mlvae.ops import mean_of, moments, product_of_normals

Scores = dict[str, float]
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
        """Whether each label was read right, ``[N]``, 0 or 1, and its surprise in nats, ``[N]``.

        Raises:
            InputError: a label is none of those that the probe was trained on.
        """
        x, y = codes.double().cpu().numpy(), labels.numpy()
        known = self.classifier.classes_
        strange = y[~np.isin(y, known)]
        if len(strange):
            raise InputError(
                f"labels must be among the {len(known)} that the probe was trained on, got "
                f"{len(strange)} observation(s) of others (the first has label {strange[0]}): train the "
                f"probe on data that has every label, or leave these observations out"
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
    seed: int = 0,
) -> dict[str, Any]:
    """Probe the style of single observations, and the content of k observations of a group.

    Args:
        guide: a guide, trained or not.
        train: observations on whose codes the probes are chosen and trained.
        test: observations on whose codes they are tested, with no other labels.
        ks: numbers of observations from which content is inferred.
        regroupings: of ``test``, for k > 1.
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
    known = style_codes(train_codes, seed=mixed_seed(seed, 0))
    probes = {way: Probe.train(c, train.label, train.group, seed=seed) for way, c in known.items()}
    content = Probe.train(mean_of(train_codes.content), train.label, train.group, seed=seed)
    held_out = style_codes(test_codes, seed=mixed_seed(seed, 1))

    def together(index: Tensor, group: Tensor) -> Tensor:
        return mean_of(group_content(guide, test_codes, index, group))

    several = scores_of_several(content, together, test, ks=ks, regroupings=regroupings, seed=seed)
    return {
        "classifier": ", ".join(
            f"{code}: {probe.kind}"
            for code, probe in {
                "content": content,
                **{f"style {way.replace('_', ' ')}": probe for way, probe in probes.items()},
            }.items()
        ),
        "style": {way: probe.scores(held_out[way], test.label) for way, probe in probes.items()},
        "content": {"1": content.scores(mean_of(test_codes.content), test.label), **several},
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
    """:func:`probe_metrics` of a VAE, whose parts have no roles, and ``"latent"``: both together.

    From k observations of a group, the product of their Normals is read, as of an ML-VAE's content.
    """
    codes = encode(guide, train), encode(guide, test)
    train_latent, test_latent = (_whole_latent(guide, each) for each in codes)
    latent = Probe.train(train_latent.loc, train.label, train.group, seed=seed)
    found = _content_and_style(guide, train, test, *codes, ks, regroupings, seed)

    def together(index: Tensor, group: Tensor) -> Tensor:
        index, group = index.to(test_latent.loc.device), group.to(test_latent.loc.device)
        loc, scale = test_latent.loc[index], test_latent.scale[index]
        return product_of_normals(loc, scale, group, int(group.max()) + 1)[0]

    several = scores_of_several(latent, together, test, ks=ks, regroupings=regroupings, seed=seed)
    return {
        **found,
        "classifier": f"{found['classifier']}, latent: {latent.kind}",
        "latent": {"1": latent.scores(test_latent.loc, test.label), **several},
    }


def _whole_latent(guide: GroupedGuide, codes: Codes) -> Normal:
    parts = (experts(guide, codes), codes.style_normal)
    return Normal(torch.cat([n.loc for n in parts], -1), torch.cat([n.scale for n in parts], -1))
