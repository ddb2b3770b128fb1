"""Swaps against the truth, of data that can render what a swap should show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation.swaps import Swaps, make_swaps
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of

# Of training observations, so many are looked through for the nearest.
MOST_SEARCHED = 20_000


@runtime_checkable
class Renders(Protocol):
    """Data that was generated, and whose generator can be asked again.

    What it needs to know of an observation is in its group and in its ``of_observations``.
    """

    def render(self, content_of: Tensor, style_of: Tensor) -> Tensor:
        """The content of some observations in the style of others.

        Args:
            content_of: which of this data's observations give content, int64 ``[n]``.
            style_of: which give style, int64 ``[n]``.

        Returns:
            ``[n, *event_shape]``, on the scale of the data's ``observations()``.
        """


def drawn_anew(data: GroupedDataset, most: int = 4000, *, seed: int = 0) -> GroupedDataset | None:
    """New observations of the groups of some data, in the styles of other groups' observations.

    So training data gives observations of groups that training saw, which it did not see
    themselves.

    Args:
        data: which :class:`Renders`.
        most: how many at most; never more than ``data`` has.
        seed: of what is drawn.

    Returns:
        As many observations, with the fields of those whose style they have; None where the data
        renders nothing, or has a single group.

    >>> from pyro_mlvae.data import load_glyphs
    >>> data = load_glyphs(scripts=["Digits"], per_character=5)
    >>> new = drawn_anew(data, 20)
    >>> len(new), new.event_shape, new.group_names == data.group_names
    (20, torch.Size([1, 28, 28]), True)
    """
    if not isinstance(data, Renders) or len(data.group.unique()) < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    content_of = torch.randperm(len(data), generator=generator)[:most].sort().values
    style_of = content_of.clone()
    while len(own := (data.group[style_of] == data.group[content_of]).nonzero().flatten()):
        style_of[own] = torch.randint(len(data), (len(own),), generator=generator)
    fields = {name: value[style_of] for name, value in data.of_observations.items()}
    return replace(
        data.subset(content_of), x=data.render(content_of, style_of), of_observations=fields
    )


def truth_metrics(
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    *,
    train: GroupedDataset | None = None,
    ks: Sequence[int] = (1, 5),
    swaps: int = 1000,
    codes: Codes | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """The squared error of swaps against the truth, in units of the truth's own square.

    Args:
        model: the trained model.
        guide: its trained guide.
        test: held-out observations; where they have a method ``render``, as :class:`Renders`, the
            truth is known.
        train: the training observations, among which the nearest to each truth is looked for.
        ks: from how many observations of a group content is inferred.
        swaps: how many, for each k.
        codes: of ``test``, where they are known already.
        seed: of the donors.

    Returns:
        ``error`` by k as text, None for a k for which no group is large enough; and what comes for
        nothing: ``copy_style_donor`` and ``copy_content_donor``, the errors of the donors
        themselves, ``nearest_training``, that of the training observation which is nearest to the
        truth (one has to know the truth to find it; None without ``train``), and ``blank``, that of
        zeros, which is 1. None in all where the truth is not known.
    """
    if not isinstance(test, Renders) or len(test.label.unique()) < 2:
        return None
    codes = codes or encode(guide, test)
    style = mean_of(codes.style)
    error: dict[str, float | None] = {}
    for k in ks:
        made = make_swaps(guide, codes, test, k, swaps, seed=seed)
        error[str(k)] = (
            None if made is None else _error(test, made, lambda p, _: p.decoded(model, style, test))
        )
    one = make_swaps(guide, codes, test, 1, swaps, seed=seed)
    assert one is not None
    return {
        "error": error,
        "copy_style_donor": _error(test, one, lambda p, _: test.observations(p.donor)),
        "copy_content_donor": _error(test, one, lambda p, _: test.observations(p.first[p.row])),
        "nearest_training": None if train is None else _error(test, one, _nearest(train)),
        "blank": 1.0,
    }


def _error(test: Any, made: Swaps, shown: Callable[[Swaps, Tensor], Tensor]) -> float:
    """The squared error of what is ``shown`` of swaps, over the square of the truth."""
    error = square = 0.0
    for part in made.parts():
        truth = test.render(part.first[part.row], part.donor).double().cpu().flatten(1)
        error += float((shown(part, truth).double().cpu().flatten(1) - truth).square().sum())
        square += float(truth.square().sum())
    return error / square


def _nearest(train: GroupedDataset) -> Callable[[Swaps, Tensor], Tensor]:
    """The training observation that is nearest to each truth."""
    x = train.sample(MOST_SEARCHED).observations().flatten(1).cpu()
    return lambda _, truth: x[torch.cdist(truth.to(x), x).argmin(1)]
