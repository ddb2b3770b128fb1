"""Groups and labels in the types of pandas, polars and pyarrow."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError, MultiLevelVAE

PEOPLE = ["a", "a", "b", "b"]
X = torch.rand(4, 2)
HOLD_NAMES = [
    pd.Series(PEOPLE),
    pd.Series(PEOPLE, index=[9, 9, 7, 7]),
    pd.Series(PEOPLE, dtype="string"),
    pd.Series(PEOPLE, dtype="string[pyarrow]"),
    pd.Series(PEOPLE, dtype="category"),
    pd.Categorical(PEOPLE, categories=["b", "z", "a"]),
    pd.Index(PEOPLE),
    pd.DataFrame({"person": PEOPLE}),
    pl.Series(PEOPLE),
    pl.Series(PEOPLE, dtype=pl.Categorical),
    pl.Series(PEOPLE, dtype=pl.Enum(["b", "a"])),
    pl.DataFrame({"person": PEOPLE}),
    pa.array(PEOPLE),
    pa.array(PEOPLE).dictionary_encode(),
    pa.chunked_array([PEOPLE[:1], PEOPLE[1:]]),
    pa.table({"person": PEOPLE}),
]


@pytest.mark.parametrize(
    "group", HOLD_NAMES, ids=lambda group: type(group).__module__ + type(group).__name__
)
def test_names_are_found_in_whatever_holds_them(group):
    data = GroupedDataset.from_arrays(X, group, group)
    assert data.group.tolist() == data.label.tolist() == [0, 0, 1, 1]
    assert data.group_names == ("a", "b")


@pytest.mark.parametrize(
    "group",
    [
        pd.Series([7, 7, 9, 9], dtype="Int64"),
        pd.Series([7, 7, 9, 9], dtype="category"),
        pd.DataFrame({"person": [7, 7, 9, 9]}),
        pl.Series([7, 7, 9, 9], dtype=pl.UInt8),
        pa.array([7, 7, 9, 9]),
    ],
)
def test_numbers_are_found_in_whatever_holds_them(group):
    assert GroupedDataset.from_arrays(X, group).group_names == (7, 9)


MISS_ONE = [
    pd.Series([1, 1, None, 2], dtype="Int64"),
    pd.Series(["a", "a", None, "b"], dtype="string"),
    pd.Series(["a", "a", None, "b"], dtype="category"),
    pd.Categorical(["a", "a", None, "b"]),
    pd.Series([True, True, None, False], dtype="boolean"),
    pd.to_datetime(pd.Series(["2020-01-01", "2020-01-01", None, "2020-01-02"])),
    pl.Series(["a", "a", None, "b"]),
    pl.Series([1, 1, None, 2]),
    pa.array(["a", "a", None, "b"]),
    pa.array([1, 1, None, 2]),
    np.array(["2020-01-01", "2020-01-01", "NaT", "2020-01-02"], "M8[ns]"),
    np.ma.array([1, 1, 0, 2], mask=[0, 0, 1, 0]),
    np.ma.array(["a", "a", "", "b"], mask=[0, 0, 1, 0]),
    pa.chunked_array([["a"], ["a", None, "b"]]),
    pa.array(["a", "a", None, "b"]).dictionary_encode(),
    pa.table({"person": ["a", "a", None, "b"]}),
    pd.Series(["a", "a", None, "b"], dtype="string[pyarrow]"),
    pd.Series([1, 1, None, 2], dtype="int64[pyarrow]"),
    pl.DataFrame({"person": ["a", "a", None, "b"]}),
]


@pytest.mark.parametrize("group", MISS_ONE)
def test_a_missing_value_of_any_type_is_no_group(group):
    with pytest.raises(
        InputError, match=r"group must be known for every observation.*for observation 2"
    ):
        GroupedDataset.from_arrays(X, group)
    x = np.random.default_rng(0).normal(size=(4, 2))
    model = MultiLevelVAE(2, 1, hidden=(4,), steps=1, validation_fraction=0.0, random_state=0)
    for call in (
        lambda: model.fit(x, groups=group),
        lambda: model.fit(x, groups=PEOPLE).transform_groups(x, group),
        lambda: model.score(x, groups=group),
    ):
        with pytest.raises(InputError, match=r"group must be known .*for observation 2: drop it"):
            call()


def test_days_are_groups_by_their_dates():
    days = pd.to_datetime(pd.Series(["2020-01-02", "2020-01-01", "2020-01-02", "2020-01-01"]))
    data = GroupedDataset.from_arrays(X, days)
    assert data.group.tolist() == [1, 0, 1, 0]
    assert data.group_names[0] == datetime.datetime(2020, 1, 1)


@pytest.mark.parametrize(
    "one_hot",
    [
        pd.get_dummies(pd.Series(PEOPLE)),
        pl.Series("person", PEOPLE).to_dummies(),
        torch.eye(2)[[0, 0, 1, 1]],
        np.eye(2)[[0, 0, 1, 1]],
        pa.table({"a": [1, 1, 0, 0], "b": [0, 0, 1, 1]}),
    ],
)
def test_one_hot_columns_are_refused_with_a_remedy_that_works(one_hot):
    with pytest.raises(InputError, match=r"must be one column.*np.asarray\(group\).argmax\(1\)"):
        GroupedDataset.from_arrays(X, one_hot)
    data = GroupedDataset.from_arrays(X, np.asarray(one_hot).argmax(1))
    assert data.group.tolist() == [0, 0, 1, 1]
