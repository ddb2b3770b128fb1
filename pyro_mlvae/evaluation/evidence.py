"""How the posterior of content narrows with the observations of a group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pyro_mlvae.data import GroupedDataset, regroup
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.ops import moments


def evidence_metrics(
    guide: GroupedGuide,
    test: GroupedDataset,
    *,
    untrained: GroupedGuide | None = None,
    vae: GroupedGuide | None = None,
    ks: Sequence[int] = (1, 2, 5, 10),
    codes: Codes | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The ``evidence`` part of metrics.json: the scale of content's posterior from k observations.

    Args:
        guide: the trained guide.
        test: observations; groups of k are cut from their groups.
        untrained: a guide of the same shape with its initial weights: a product of Normals narrows
            whatever its factors say.
        vae: a guide trained without groups.
        ks: numbers of observations.
        codes: what ``guide`` says of ``test``, where it is known already.
        seed: of the cut.

    Returns:
        ``{"k": [...], "content_scale": [...], "untrained": [...], "vae": [...]}``: scales, averaged
        over groups and dimensions, one for each k; None for a k for which no group is large enough,
        and in place of the list of a guide that was not given.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide
    >>> solved = LinearGaussian.orthogonal()
    >>> batch = solved.sample(torch.full((5,), 4))
    >>> data = GroupedDataset.from_arrays(batch.x, batch.group)
    >>> guide = LinearGaussianGuide.exact(solved)
    >>> one, four = evidence_metrics(guide, data, ks=(1, 4))["content_scale"]
    >>> one > four
    True
    """
    guides = {"content_scale": guide, "untrained": untrained, "vae": vae}
    own = codes or encode(guide, test)
    return {"k": list(ks)} | {
        name: None
        if each is None
        else _scales(each, test, own if each is guide else encode(each, test), ks, seed)
        for name, each in guides.items()
    }


def _scales(
    guide: GroupedGuide, test: GroupedDataset, codes: Codes, ks: Sequence[int], seed: int
) -> list[float | None]:
    scales: list[float | None] = []
    for k in ks:
        generator = torch.Generator().manual_seed(seed)
        index, group = regroup(test.group, k, generator, drop_smaller=True)
        if len(index):
            _, scale = moments(group_content(guide, codes, index, group))
            scales.append(float(scale.mean()))
        else:
            scales.append(None)
    return scales
