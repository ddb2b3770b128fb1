"""Swaps against the truth, of data that can render what a swap should show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation.swaps import Swaps, make_swaps
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode
from pyro_mlvae.models import MLVAE
from pyro_mlvae.ops import mean_of


@runtime_checkable
class Renders(Protocol):
    """Data that was generated, and whose generator can be asked again."""

    def render(self, content_of: Tensor, style_of: Tensor) -> Tensor:
        """The content of some observations in the style of others.

        Args:
            content_of: which of this data's observations give content, int64 ``[n]``.
            style_of: which give style, int64 ``[n]``.

        Returns:
            ``[n, *event_shape]``, on the scale of the data's ``observations()``.
        """


def truth_metrics(
    model: MLVAE,
    guide: GroupedGuide,
    test: GroupedDataset,
    *,
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
        ks: from how many observations of a group content is inferred.
        swaps: how many, for each k.
        codes: of ``test``, where they are known already.
        seed: of the donors.

    Returns:
        ``error`` by k as text, None for a k for which no group is large enough; and what comes for
        nothing: ``copy_style_donor`` and ``copy_content_donor``, the errors of the donors themselves,
        and ``blank``, that of zeros, which is 1. None in all where the truth is not known.
    """
    if not isinstance(test, Renders) or len(test.label.unique()) < 2:
        return None
    codes = codes or encode(guide, test)
    style = mean_of(codes.style)
    error: dict[str, float | None] = {}
    for k in ks:
        made = make_swaps(guide, codes, test, k, swaps, seed=seed)
        error[str(k)] = None if made is None else _error(test, made, lambda p: p.decoded(model, style))
    one = make_swaps(guide, codes, test, 1, swaps, seed=seed)
    assert one is not None
    return {
        "error": error,
        "copy_style_donor": _error(test, one, lambda p: test.observations(p.donor)),
        "copy_content_donor": _error(test, one, lambda p: test.observations(p.first[p.row])),
        "blank": 1.0,
    }


def _error(test: Any, made: Swaps, shown: Any) -> float:
    """The squared error of what is ``shown`` of some swaps, over the square of the truth."""
    error = square = 0.0
    for part in made.parts():
        truth = test.render(part.first[part.row], part.donor).double().cpu()
        error += float((shown(part).double().cpu() - truth).square().sum())
        square += float(truth.square().sum())
    return error / square
