"""Frames and tables as data: which columns become groups, labels, super-groups and x."""

import logging
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data.tables import require_column

TABLE = {
    "donor": ["bob", "ann", "bob", "cid"],
    "state": ["s1", "s2", "s2", "s1"],
    "site": ["x", "x", "x", "y"],
    "size": [1.5, 2.5, 3.5, 4.5],
    "depth": [1, 2, 3, 4],
    "note": ["-", "-", "-", "-"],
    "live": [True, True, False, True],
}
FRAMES = [pd.DataFrame, pl.DataFrame, pa.table]
read = GroupedDataset.from_dataframe


@pytest.mark.parametrize("frame", FRAMES)
def test_columns_of_every_kind_of_frame_become_data(frame, caplog):
    with caplog.at_level(logging.WARNING):
        data = read(frame(TABLE), "donor", "state", parent="site")
    assert [data.group_names[i] for i in data.group] == TABLE["donor"]
    assert [data.label_names[i] for i in data.label] == TABLE["state"]
    assert [data.parent_names[i] for i in data.parent] == ["x", "x", "y"]
    assert data.feature_names == ("size", "depth")
    assert data.x.tolist() == [[1.5, 1.0], [2.5, 2.0], [3.5, 3.0], [4.5, 4.0]]
    assert "not among the features of x: 'note', 'live'" in caplog.text
    train, test = data.split_groups(["ann"])
    assert train.feature_names == test.feature_names == data.feature_names


@pytest.mark.parametrize("frame", FRAMES)
def test_features_are_taken_in_the_order_asked_for(frame, caplog):
    data = read(frame(TABLE), "donor", features=["live", "size"])
    assert data.feature_names == ("live", "size")
    assert data.x[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert not caplog.records


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1, 2], dtype="Int64"), [1.0, 2.0]),
        (pd.Series([1, 2], dtype="uint8"), [1.0, 2.0]),
        (pd.Series([1.5, 2], dtype="double[pyarrow]"), [1.5, 2.0]),
        (pd.Series([Decimal("1.5"), Decimal(2)]), [1.5, 2.0]),
        (pd.Series([1, 2.5], dtype=object), [1.0, 2.5]),
        (pd.Series([0, 2], dtype="Sparse[int]"), [0.0, 2.0]),
        (pl.Series([1, 2], dtype=pl.Decimal(10, 2)), [1.0, 2.0]),
        (pl.Series([200, 255], dtype=pl.UInt8), [200.0, 255.0]),
        (np.array([1, 2], np.float16), [1.0, 2.0]),
    ],
)
def test_numbers_are_numbers_in_whatever_type_a_column_holds_them(column, expected):
    frame = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    data = read(frame({"donor": ["a", "b"], "size": column}), "donor")
    assert data.observations()[:, 0].tolist() == expected


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2], dtype="category"),
        pd.to_datetime(pd.Series(["2020-01-01", "2020-01-02"])),
        pd.Series([None, None]),
        pd.Series([1j, 2j]),
        pd.Series([True, None], dtype="boolean").fillna(False),
    ],
)
def test_what_is_no_plain_number_is_no_feature_by_default(column):
    frame = pd.DataFrame({"donor": ["a", "b"], "size": [1.0, 2.0], "other": column})
    assert read(frame, "donor").feature_names == ("size",)


def test_names_that_are_numbers_and_levels_of_an_index_are_found_as_text():
    frame = pd.DataFrame({0: [1.0, 2.0], 1: [3.0, 4.0], "donor": ["a", "b"]}).set_index("donor")
    data = read(frame, "donor")
    assert data.feature_names == ("0", "1")
    assert data.group_names == ("a", "b")


ONE = pd.DataFrame({"donor": ["a", "b"], "size": [1.0, 2.0], "site": ["x", "x"]})
WITH_NAN = ONE.assign(size=[1.0, np.nan])


@pytest.mark.parametrize(
    ("frame", "arguments", "sentence"),
    [
        (
            ONE,
            {"group": "doner"},
            r"group must name a column.*'doner': did you mean 'donor'\? There",
        ),
        (ONE, {"label": "z"}, r"label must name a column.*there are 'donor', 'size', 's"),
        (ONE, {"features": ["siz"]}, r"features must name a column.*did you mean 'size'"),
        (ONE, {"features": "size"}, r"features must be a list .*got 'size'"),
        (ONE, {"features": []}, r"features must be a list"),
        (ONE, {"features": ["size", "size"]}, r"'size' occurs twice"),
        (ONE, {"features": ["site"]}, r"columns of numbers, but 'site' holds 'x'"),
        (ONE, {"features": ["donor"]}, r"must not hold 'donor', the column of the group"),
        (ONE, {"group": "size"}, r"a column of numbers beside 'size', but has 'donor', 'site'"),
        (ONE, {"group": "site", "parent": "donor"}, r"column 'donor' differs in 'x'"),
        (ONE.iloc[:0], {}, r"at least one observation"),
        (WITH_NAN, {}, r"column 'size' has nan for observation 1 \(1 in all\)"),
        (ONE.assign(donor=["a", None]), {}, r"group must be known .* observation 1"),
        (pd.concat([ONE, ONE], axis=1), {}, r"'donor' occurs twice"),
        (pl.from_pandas(ONE).lazy(), {}, r"got a lazy one: give frame.collect\(\)"),
        (ONE.groupby("donor"), {}, r"frame must be a frame of pandas or polars"),
        ({"donor": ["a"], "size": [1.0]}, {}, r"got a dict: GroupedDataset.from_arrays"),
        (np.eye(2), {}, r"got a ndarray"),
    ],
)
def test_a_table_that_cannot_be_read_as_asked_gets_one_sentence(frame, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        read(frame, **{"group": "donor"} | arguments)


@pytest.mark.parametrize("frame", FRAMES)
def test_missing_numbers_stay_missing_where_they_are_asked_for(frame):
    table = frame({"donor": ["a", "b"], "size": [None, 2.0], "depth": [1, None]})
    data = read(table, "donor", missing="mask")
    assert data.x.isnan().tolist() == [[True, False], [False, True]]
    infinite = frame({"donor": ["a", "b"], "size": [np.inf, 2.0]})
    with pytest.raises(InputError, match=r"column 'size' has inf"):
        read(infinite, "donor", missing="mask")


def test_a_missing_number_of_a_nullable_column_stays_missing():
    table = pd.DataFrame(
        {"donor": ["a", "b"], "size": pd.array([None, 2], "Int64"), "depth": [1.0, 2.0]}
    )
    x = read(table, "donor", missing="mask").x
    assert x.isnan().tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("name", [["donor", "site"], 0, None])
def test_a_column_is_asked_for_by_one_name(name):
    with pytest.raises(InputError, match="group must be the name of one column, as text, got"):
        require_column("group", name, ["donor", "site"])


def test_a_sentence_about_thousands_of_columns_names_ten():
    wide = pd.DataFrame(np.ones((2, 1010)), columns=[f"gene{i}" for i in range(1010)])
    with pytest.raises(InputError, match="'gene9' and 1,000 more") as caught:
        read(wide, "x")
    assert len(str(caught.value)) < 300


def test_cells_by_genes_come_from_anndata_dense_sparse_and_in_layers(tmp_path):
    anndata = pytest.importorskip("anndata")
    from scipy import sparse

    counts = np.arange(6).reshape(3, 2)
    obs = pd.DataFrame({"donor": ["b", "a", "b"], "type": ["t", "u", "u"]}, index=list("xyz"))
    cells = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    cells.var_names = ["g1", "g2"]
    cells.layers["counts"] = sparse.csc_matrix(counts.astype(np.uint8))
    for layer in (None, "counts"):
        data = GroupedDataset.from_anndata(cells, "donor", "type", layer=layer)
        assert data.x.dtype == torch.float32
        assert data.x.tolist() == counts.tolist()
        assert data.feature_names == ("g1", "g2")
        assert [data.group_names[i] for i in data.group] == ["b", "a", "b"]
        assert [data.label_names[i] for i in data.label] == ["t", "u", "u"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert GroupedDataset.from_anndata(backed, "donor").x.tolist() == counts.tolist()
    backed.file.close()
    for arguments, sentence in (
        ({"group": "doner"}, "did you mean 'donor'"),
        ({"group": "donor", "layer": "raw"}, "layer must name a layer .*'raw': there are 'counts'"),
    ):
        with pytest.raises(InputError, match=sentence):
            GroupedDataset.from_anndata(cells, **arguments)
    with pytest.raises(InputError, match=r"adata must be an anndata.AnnData, got DataFrame"):
        GroupedDataset.from_anndata(obs, "donor")


def test_cells_that_are_too_many_for_memory_are_refused_before_they_are_made_dense(monkeypatch):
    anndata = pytest.importorskip("anndata")
    from pyro_mlvae.data import cells as module

    monkeypatch.setattr(module, "memory_size", lambda: 10)
    cells = anndata.AnnData(
        np.eye(3, dtype=np.float32), obs=pd.DataFrame({"d": list("aab")}, index=list("xyz"))
    )
    with pytest.raises(InputError, match=r"3 cells of 3 genes take 0 GB: choose genes"):
        GroupedDataset.from_anndata(cells, "d")
