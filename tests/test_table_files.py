"""Tables in csv and parquet files, and what is wrong with them."""

import sys

import pandas as pd
import pytest

from pyro_mlvae import InputError, load_dataset
from pyro_mlvae.data.table_files import TableColumns

TABLE = pd.DataFrame(
    {"donor": ["007", "8", "007"], "age": [30, 40, 30], "g1": [0, 2, 5], "g2": [0.5, 1.5, 2.5]}
)
DONOR = TableColumns("donor", features=("g2", "g1"))


def load(place, columns=DONOR):
    return load_dataset(place, columns=columns)


@pytest.fixture
def written(tmp_path):
    """From a text, a csv file with it."""

    def write(text):
        (tmp_path / "t.csv").write_bytes(text.encode(errors="surrogateescape"))
        return f"csv:{tmp_path / 't.csv'}"

    return write


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "parquet"])
def test_a_table_comes_back_from_every_kind_of_file(suffix, tmp_path):
    file = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        TABLE.to_parquet(file)
    else:
        TABLE.to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    data = load(f"{'parquet' if suffix == 'parquet' else 'csv'}:{file}")
    assert data.group_names == ("007", "8")
    assert data.feature_names == ("g2", "g1")
    assert data.x.tolist() == TABLE[["g2", "g1"]].to_numpy().tolist()


def test_columns_of_another_file_are_matched_by_name(tmp_path):
    file = tmp_path / "t.csv"
    TABLE[["g1", "age", "g2", "donor"]].to_csv(file, index=False)
    assert load(f"csv:{file}").x.tolist() == TABLE[["g2", "g1"]].to_numpy().tolist()
    TABLE.drop(columns="g1").to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"features must name a column, but none is called 'g1'"):
        load(f"parquet:{tmp_path / 't.parquet'}")


@pytest.mark.parametrize(
    ("donors", "names"),
    [
        (["10", "2", "10"], (2, 10)),
        (["007", "2", "10"], ("007", "10", "2")),
        (["NA", "null", "nan"], ("NA", "nan", "null")),
        (["1.0", "2.0", "1.0"], ("1.0", "2.0")),
        (["9" * 30, "1", "1"], ("1", "9" * 30)),
    ],
)
def test_names_of_groups_are_kept_as_they_are_written(donors, names, written):
    rows = "\n".join(f"{donor},1.5" for donor in donors)
    assert load(written(f"donor,g\n{rows}\n"), TableColumns("donor")).group_names == names


def test_row_numbers_that_were_written_along_are_no_features(tmp_path):
    TABLE.to_csv(tmp_path / "t.csv")
    TABLE.iloc[[0, 1]].to_parquet(tmp_path / "t.parquet")
    for place in (f"csv:{tmp_path / 't.csv'}", f"parquet:{tmp_path / 't.parquet'}"):
        assert load(place, TableColumns("donor")).feature_names == ("age", "g1", "g2")


def test_the_mark_of_utf8_and_quoted_names_are_read(written):
    text = '"do\nnor",g\n"a,b",1\n"c",2\n'
    assert load(written("﻿" + text), TableColumns("do\nnor")).group_names == ("a,b", "c")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("donor,g\na,1\n,2\n", r"group must be known .* missing .* observation 1"),
        ("donor,g\na,1\nb,\n", r"column 'g' has nan for observation 1"),
        ("donor,g\na,1\nb,x\n", r"must have a column of numbers beside 'donor'"),
        ("donor,g\n", r"column of numbers"),
        ("", r"cannot be read as a csv file \(Empty CSV file\)"),
        ("donor,g\na,1,2\n", r"Expected 2 columns, got 3.*a name for every column"),
        ("g\na,1\n", r"cannot be read as a csv file"),
        ("donor,g\n\udce9,1\n", r"cannot be read as a csv file"),  # a byte that is no UTF-8
        ("donor,g,g\na,1,2\n", r"'g' occurs twice"),
        ("donor,g\na,inf\n", r"column 'g' has inf"),
    ],
)
def test_a_csv_file_that_cannot_be_read_gets_one_sentence(text, sentence, written):
    with pytest.raises(InputError, match=sentence):
        load(written(text), TableColumns("donor"))


def test_columns_that_are_not_named_or_hold_no_numbers_get_one_sentence(written):
    with pytest.raises(InputError, match=r"says the group of each row.*of 'donor', 'g'"):
        load(written("donor,g\na,1\n"), TableColumns())
    with pytest.raises(InputError, match=r"'g' holds '1,5'"):
        load(written("donor;g\na;1,5\n"), TableColumns("donor", features=("g",)))


def test_other_places_and_other_files_are_refused(tmp_path):
    (tmp_path / "t").write_bytes(bytes(range(256)) * 4)
    for kind in ("csv", "parquet"):
        with pytest.raises(InputError, match=rf"cannot be read as a {kind} file"):
            load(f"{kind}:{tmp_path / 't'}")
        with pytest.raises(InputError, match=rf"no {kind} file .*nothing: check the path"):
            load(f"{kind}:{tmp_path / 'nothing'}")
        with pytest.raises(InputError, match=r"name one file in it"):
            load(f"{kind}:{tmp_path}")
    with pytest.raises(
        InputError, match=r"columns of groups, labels and features .* the data is digits"
    ):
        load("digits")
    with pytest.raises(InputError, match=r"image_size.* the data is csv:"):
        load_dataset("csv:t", image_size=8)


def test_without_pyarrow_the_sentence_says_how_to_get_it(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        InputError, match=r"csv:PATH takes pyarrow.*pip install 'pyro-mlvae\[tables\]'"
    ):
        load(written("donor,g\na,1\n"))


def test_numbers_late_in_a_long_file_are_still_numbers(written):
    # Longer than what a reader looks at to find out what the columns hold.
    rows = f"{'a' * 500},1\n" * 5_000 + f"{'a' * 500},0.5\n"
    data = load(written("donor,g\n" + rows), TableColumns("donor"))
    assert float(data.x[-1, 0]) == 0.5
