"""What is taken for counts, and said to be by ``train``: only what surely is."""

import numpy as np
import pytest
from quick import quickly, words
from sklearn.datasets import load_digits

from pyro_mlvae import GroupedDataset
from pyro_mlvae.cli.main import run
from pyro_mlvae.data.ranges import looks_like_counts

RNG = np.random.default_rng(0)
COUNTS = RNG.negative_binomial(0.3, 0.02, (200, 12))
FEW = np.random.default_rng(1).negative_binomial(0.3, 0.3, (200, 12))
LINE = "x looks like counts: try --likelihood counts"


def data_of(x):
    return GroupedDataset.from_arrays(x, np.arange(len(x)) % 4, missing="mask")


@pytest.mark.parametrize("dtype", ["i8", "f4", "f8", "u2"])
def test_sparse_overdispersed_whole_numbers_are_counts(dtype):
    assert looks_like_counts(data_of(COUNTS.astype(dtype)))


def test_a_missing_count_and_an_empty_feature_change_nothing():
    x = COUNTS.astype("f4")
    x[3, 5] = np.nan
    x[:, 0] = 0.0
    assert looks_like_counts(data_of(x))


OTHERS = {
    "pixels": load_digits().data,
    "uint8": COUNTS.clip(max=255).astype("u1"),
    "images": COUNTS.reshape(200, 1, 4, 3),
    "true and false": (COUNTS > 0).astype("f4"),
    "answers": RNG.integers(0, 5, (200, 12)),
    "ages": RNG.integers(18, 90, (200, 12)),
    "ranks": RNG.permuted(np.tile(np.arange(12), (200, 1)), axis=1),
    "halves": COUNTS / 2,
    "negative": COUNTS - 1,
    "large": RNG.poisson(500, (200, 12)),
    "rare marks": 20.0 * (RNG.random((200, 12)) < 0.1) + (RNG.random((200, 12)) < 0.01),
    "zero": np.zeros((20, 3)),
    # Spread as counts are, but no more than marks on a short scale may be.
    "at most 9": np.where(FEW < 10, FEW, 0),
}


@pytest.mark.parametrize("x", OTHERS.values(), ids=OTHERS)
def test_what_may_be_something_else_is_not_called_counts(x):
    assert not looks_like_counts(data_of(x))


def train(folder, x, *options):
    np.savez(folder / "x.npz", x=x, group=np.arange(200) % 4)
    command = words(f"train --data npz:{folder}/x.npz --out {folder}/run --hidden 4 --no-vae")
    return run([*command, "--steps", "1", *options])


def test_train_says_so_once(tmp_path, capsys):
    with quickly():
        assert train(tmp_path, COUNTS) == 0
        assert capsys.readouterr().err.count(LINE) == 1
        assert run(["train", "--resume", str(tmp_path / "run"), "--steps", "2"]) == 0
        assert LINE not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("x", "options", "said"),
    [
        (COUNTS, "", True),
        (COUNTS, "--likelihood counts", False),
        (COUNTS, "--likelihood normal", False),
        (RNG.normal(size=(200, 12)), "", False),
    ],
)
def test_train_says_so_of_counts_for_which_no_likelihood_is_named(
    tmp_path, x, options, said, capsys
):
    # A folder of something else ends the command right after the line.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    assert train(tmp_path, x, *words(options)) == 2
    assert capsys.readouterr().err.count(LINE) == said
