"""AnnData as grouped data: cells by genes, with the group of each cell in ``obs``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_mlvae.data.tables import require_column
from pyro_mlvae.errors import InputError
from pyro_mlvae.files import memory_size

if TYPE_CHECKING:
    from pyro_mlvae.data.dataset import GroupedDataset


def from_anndata(
    cls: type[GroupedDataset],
    adata: Any,
    group: str,
    label: str | None = None,
    *,
    layer: str | None = None,
) -> GroupedDataset:
    """A data set from an ``anndata.AnnData``: one observation a cell, one feature a gene.

    Args:
        adata: the cells; sparse and on disk (backed) ones are read into a dense array.
        group: the column of ``adata.obs`` that says each cell's group: the donor, say.
        label: the column of ``adata.obs`` with evaluation labels; by default those of the groups.
        layer: the name of the layer that holds x; ``adata.X`` by default.

    Returns:
        The data set; x is ``[cells, genes]``, and ``feature_names`` are ``adata.var_names``.

    Raises:
        InputError: there is no such column or layer, a group is missing, or dense x would not fit
            into memory.

    >>> import anndata, pandas
    >>> from pyro_mlvae import GroupedDataset
    >>> obs = pandas.DataFrame({"donor": ["ann", "bob", "ann"]}, index=["cell1", "cell2", "cell3"])
    >>> cells = anndata.AnnData(np.eye(3, dtype=np.float32), obs=obs)
    >>> data = GroupedDataset.from_anndata(cells, group="donor")
    >>> data.group_names, data.feature_names
    (('ann', 'bob'), ('0', '1', '2'))
    """
    if not all(hasattr(adata, name) for name in ("obs", "layers", "X", "var_names")):
        raise InputError(
            f"adata must be an anndata.AnnData, got {type(adata).__name__}: "
            f"GroupedDataset.from_dataframe takes frames"
        )
    for role, name in {"group": group, "label": label}.items():
        if name is not None or role == "group":
            require_column(role, name, [str(name) for name in adata.obs.columns])
    if layer is not None and layer not in adata.layers:
        there = ", ".join(map(repr, adata.layers)) or "none"
        raise InputError(
            f"layer must name a layer of adata, but none is called {layer!r}: there are {there}"
        )
    x = adata.X if layer is None else adata.layers[layer]
    if x is None:
        raise InputError("adata must have x, but adata.X is None: name the layer that holds it")
    bytes_ = float(np.prod(x.shape)) * x.dtype.itemsize
    if bytes_ > memory_size():
        raise InputError(
            f"adata must fit into memory as a dense array, but {x.shape[0]:,} cells of "
            f"{x.shape[1]:,} genes take {bytes_ / 2**30:.0f} GB: choose genes, adata[:, "
            "adata.var.highly_variable]"
        )
    x = x.to_memory() if hasattr(x, "to_memory") else x
    x = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
    # uint8 would be taken for pixels.
    x = x.astype(np.float32) if x.dtype.kind in "biu" else x
    labels = None if label is None else adata.obs[label]
    data: GroupedDataset = cls.from_arrays(x, adata.obs[group], labels)
    return replace(data, feature_names=tuple(str(name) for name in adata.var_names))
