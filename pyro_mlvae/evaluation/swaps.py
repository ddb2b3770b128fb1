"""Swap consistency: does an image made of one's content and another's style show the content?

An independent classifier, trained on pixels, reads the label of decoded swaps. How often it is the
content donor's is what the swap is for; how often it is the style donor's is what leaks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.decoding import decode
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of

# So many values are read in training, over all observations; of larger data, fewer observations.
_MOST_VALUES = 5 * 10**7
_MOST_VISITS = 600_000


@dataclass(frozen=True)
class Reader:
    """A classifier of observations themselves, one hidden layer of 256; it knows of no latent.

    >>> from pyro_mlvae import load_dataset
    >>> train, test = load_dataset("digits").split(0.2, seed=0)
    >>> Reader.train(train).accuracy(test) > 0.9
    True
    """

    classifier: Any

    @classmethod
    def train(cls, data: GroupedDataset, *, seed: int = 0) -> Reader:
        """Fit it to the observations and labels of ``data``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        data = data.sample(max(1, _MOST_VALUES // data.event_shape.numel()), seed=seed)
        epochs = min(max(_MOST_VISITS // len(data), 5), 100)
        classifier = MLPClassifier((256,), alpha=1e-3, max_iter=epochs, random_state=seed)
        with threadpool_limits(1), warnings.catch_warnings():
            # Stopping after a fixed number of epochs is the reader's definition, not a failure.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return cls(classifier.fit(_flat(data.observations()), data.label.numpy()))

    def read(self, x: Tensor) -> Tensor:
        """The label that each of ``x [N, *event_shape]`` shows, ``[N]``."""
        with threadpool_limits(1):
            return torch.from_numpy(self.classifier.predict(_flat(x)))

    def accuracy(self, data: GroupedDataset) -> float:
        """How often it reads the label of ``data``'s own observations: the most that a swap can get."""
        return float((self.read(data.observations()) == data.label).double().mean())


def swap_metrics(
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    reader: Reader,
    *,
    ks: Sequence[int] = (1, 10),
    swaps: int = 5000,
    codes: Codes | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Decode contents of k observations in styles of observations of other labels, and read them.

    Args:
        model: the trained model.
        guide: its trained guide.
        test: held-out observations; both donors are of them.
        reader: a classifier trained on the training observations.
        ks: from how many observations of a group content is inferred.
        swaps: how many, for each k.
        codes: of ``test``, where they are known already.
        seed: of the donors.

    Returns:
        ``{"consistency": {"1": ...}, "style_donor": {"1": ...}}``: how often the label read is the
        content donor's, and how often the style donor's; None for a k for which no group is large
        enough, and None in all where the observations have a single label.
    """
    if len(test.label.unique()) < 2:
        return None
    codes = codes or encode(guide, test)
    styles = mean_of(codes.style)
    result: dict[str, Any] = {"consistency": {}, "style_donor": {}}
    for k in ks:
        generator = torch.Generator().manual_seed(seed)
        index, group = regroup(test.group, k, generator, drop_smaller=True)
        shows: dict[str, float | None] = {"consistency": None, "style_donor": None}
        if len(index):
            content = mean_of(group_content(guide, codes, index, group))
            first = torch.empty(len(content), dtype=torch.int64)
            first[group] = index
            row, donor = _donors(test.label[first], test.label, swaps, generator)
            device = content.device
            read = torch.cat(
                [
                    reader.read(decode(model, content[r.to(device)], styles[d.to(device)]))
                    for r, d in zip(row.split(1000), donor.split(1000), strict=True)
                ]
            )
            shows["consistency"] = float((read == test.label[first[row]]).double().mean())
            shows["style_donor"] = float((read == test.label[donor]).double().mean())
        for name, value in shows.items():
            result[name][str(k)] = value
    return result


def _donors(
    content_label: Tensor, style_label: Tensor, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """``count`` random pairs of a content and a style of different labels, as indices of each."""
    rows, donors = [], []
    missing = count
    while missing:
        row = torch.randint(len(content_label), (2 * missing,), generator=generator)
        donor = torch.randint(len(style_label), (2 * missing,), generator=generator)
        fit = (content_label[row] != style_label[donor]).nonzero().flatten()[:missing]
        rows.append(row[fit])
        donors.append(donor[fit])
        missing -= len(fit)
    return torch.cat(rows), torch.cat(donors)


def _flat(x: Tensor) -> Any:
    return x.detach().flatten(1).cpu().numpy()
