r"""Swaps: contents decoded in the styles of other observations. Do both keep their part?

A swap that ignores style shows its content perfectly, so consistency alone proves little. Beside it
stand the same with style set to zero, and how much of the donor's style the swap kept. For that
swaps are encoded again, and the locs of their style, :math:`s'`, are compared with the donors',
:math:`s`:

.. math:: R^2 = 1 - \frac{\sum_i \lVert s'_i - s_i \rVert^2}{\sum_i \lVert s_i - \bar s \rVert^2}
    = \sum_d w_d R^2_d, \qquad w_d \propto \sum_i (s_{id} - \bar s_d)^2,

the mean over dimensions, each weighted by the variance of its loc: one that has collapsed on the
prior tells nothing, and weighs nothing. It is 1 where style is kept, and 0 for a swap that always
shows the mean style; below, it shows others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.evaluation.reader import Reader
from pyro_mlvae.evaluation.standard_errors import of_pairs
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.decoding import decode
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of

PROPORTIONS = ("consistency", "style_zeroed", "style_donor")
# Decoded, read and encoded at once.
_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Swaps:
    """Pairs of a content and a style of observations with different labels.

    Attributes:
        content: of groups of k observations, ``[contents, content]``.
        first: an observation of each of those groups, ``[contents]``.
        row: which content each swap has, ``[swaps]``.
        donor: which observation's style, ``[swaps]``.
    """

    content: Tensor
    first: Tensor
    row: Tensor
    donor: Tensor

    def decoded(self, model: MLVAE, style: Tensor, data: GroupedDataset) -> Tensor:
        """The swaps in the styles of ``style [observations, style]``: ``[swaps, *event_shape]``."""
        content, style = self.content[self.row.to(style.device)], style[self.donor.to(style.device)]
        return decode(model, content, style, like=data.observations(self.donor))

    def parts(self) -> list[Swaps]:
        """The same, a number of swaps at a time."""
        pairs = zip(self.row.split(_AT_ONCE), self.donor.split(_AT_ONCE), strict=True)
        return [replace(self, row=row, donor=donor) for row, donor in pairs]


def make_swaps(
    guide: GroupedGuide, codes: Codes, data: GroupedDataset, k: int, count: int, *, seed: int = 0
) -> Swaps | None:
    """``count`` random swaps with contents of k observations; None where no group has k."""
    generator = torch.Generator().manual_seed(seed)
    index, group = regroup(data.group, k, generator, drop_smaller=True)
    if not len(index):
        return None
    content = mean_of(group_content(guide, codes, index, group))
    first = torch.empty(len(content), dtype=torch.int64)
    first[group] = index
    return Swaps(content, first, *_donors(data.label[first], data.label, count, generator))


def swap_metrics(
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    reader: Reader | None,
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
        reader: a classifier trained on the training observations, or None where their labels are
            not those of ``test``.
        ks: from how many observations of a group content is inferred.
        swaps: how many, for each k.
        codes: of ``test``, where they are known already.
        seed: of the donors.

    Returns:
        By k as text: ``consistency``, how often the label read is the content donor's;
        ``style_zeroed``, the same with style set to zero; ``style_donor``, how often it is the
        style donor's; ``style_kept``, this module's R2; and under ``standard_error`` those of the
        first three. None for a k for which no group is large enough, without a reader for what it
        reads, and in all where the observations have a single label.
    """
    if len(test.label.unique()) < 2:
        return None
    codes = codes or encode(guide, test)
    style = mean_of(codes.style)
    result: dict[str, Any] = {name: {} for name in (*PROPORTIONS, "style_kept")}
    result["standard_error"] = {name: {} for name in PROPORTIONS}
    for k in ks:
        made = make_swaps(guide, codes, test, k, swaps, seed=seed)
        found = {} if made is None else _measured(model, guide, test, made, style, reader)
        for name in (*PROPORTIONS, "style_kept"):
            value, error = found.get(name, (None, None))
            result[name][str(k)] = value
            if name in PROPORTIONS:
                result["standard_error"][name][str(k)] = error
    return result


def _measured(
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    made: Swaps,
    style: Tensor,
    reader: Reader | None,
) -> dict[str, tuple[float | None, float | None]]:
    """Each number by name, with its standard error where it is a proportion."""
    read, zeroed, again = [], [], []
    for part in made.parts():
        x = part.decoded(model, style, test)
        # With what is known of the observation that gave style, in the group that gave content.
        swapped = replace(test.subset(part.donor), x=x, group=test.group[part.first[part.row]])
        again.append(mean_of(encode(guide, swapped).style))
        if reader is not None:
            read.append(reader.read(x))
            zeroed.append(reader.read(part.decoded(model, torch.zeros_like(style), test)))
    kept = _kept(torch.cat(again), style[made.donor.to(style.device)])
    if reader is None:
        return {"style_kept": (kept, None)}
    content, donor = test.label[made.first[made.row]], test.label[made.donor]
    hits = {
        "consistency": torch.cat(read) == content,
        "style_zeroed": torch.cat(zeroed) == content,
        "style_donor": torch.cat(read) == donor,
    }
    return {"style_kept": (kept, None)} | {
        name: (float(hit.double().mean()), of_pairs(hit.double(), made.row, made.donor))
        for name, hit in hits.items()
    }


def _kept(style: Tensor, donor: Tensor) -> float | None:
    """R2 of ``style`` against ``donor``, both ``[swaps, style]``; None where no donor's differs."""
    style, donor = style.double(), donor.double()
    spread = (donor - donor.mean(0)).square().sum()
    return float(1.0 - (style - donor).square().sum() / spread) if spread > 0.0 else None


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
