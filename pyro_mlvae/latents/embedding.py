"""``embed``: the codes of a whole data set, as arrays to save."""

from __future__ import annotations

import numpy as np
import torch

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.guides import GroupedGuide, ProductOfNormals
from pyro_mlvae.latents.encoding import encode, group_content
from pyro_mlvae.ops import moments


@torch.no_grad()
def embed(guide: GroupedGuide, data: GroupedDataset) -> dict[str, np.ndarray]:
    """Content and style of every observation, and content of every group, as arrays.

    Returns:
        ``content_loc`` and ``content_scale`` of single observations ``[N, content]``, ``style_loc``
        and ``style_scale`` ``[N, style]``, ``group [N]``, an index into ``group_names [groups]``,
        ``group_content_loc`` and ``group_content_scale [groups, content]``, from all the
        observations of each group, and ``label [N]``, by name. Only groups that occur are among the
        names. Loc and scale are the mean and the standard deviation of whatever the posterior is.

    >>> from pyro_mlvae import MLPEncoder, load_dataset
    >>> guide = ProductOfNormals(MLPEncoder((1, 8, 8), content_dim=2, style_dim=1))
    >>> arrays = embed(guide, load_dataset("digits"))
    >>> arrays["content_loc"].shape, arrays["group_content_loc"].shape
    ((1797, 2), (10, 2))
    """
    codes = encode(guide, data)
    present, group = torch.unique(data.group, return_inverse=True)
    if isinstance(guide, ProductOfNormals) and guide.multiplies_normals:
        # In float64: a group may have thousands of observations.
        of_groups = guide.content_from(guide.evidence(codes.features, codes.groups))
    else:
        of_groups = group_content(guide, codes)
    posteriors = {"content": codes.content, "style": codes.style, "group_content": of_groups}
    arrays = {
        f"{name}_{part}": value.to(codes.features.dtype).cpu().numpy()
        for name, posterior in posteriors.items()
        for part, value in zip(("loc", "scale"), moments(posterior), strict=True)
    }
    return arrays | {
        "group": group.numpy(),
        "group_names": _names([data.group_names[i] for i in present.tolist()]),
        "label": _names(list(data.label_names))[data.label.numpy()],
    }


def _names(names: list) -> np.ndarray:
    """Names as an array that can be saved without pickling: numbers if all are, text otherwise."""
    array = np.asarray(names)
    if array.ndim == 1 and array.dtype.kind in "iufb":
        return array
    return np.asarray(list(map(str, names)))
