"""Data on the command line: folders, arrays, held-out groups, and what is not right."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from quick import words

from pyro_mlvae.cli.checked import sized
from pyro_mlvae.cli.main import run
from pyro_mlvae.runs.config import RunConfig

pytestmark = pytest.mark.usefixtures("quick_evaluation")

SMALL = words("--no-vae --epochs 1 --hidden 16 --device cpu")


@pytest.fixture
def pictures(tmp_path):
    """Two alphabets of three characters, of each four drawings of a size of their own."""
    generator = np.random.default_rng(0)
    for alphabet in ("Greek", "Korean"):
        for character in range(3):
            folder = tmp_path / "pictures" / alphabet / f"character{character}"
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = generator.integers(0, 256, (20 + i, 24), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def test_an_alphabet_is_held_out_of_a_folder_of_drawings(pictures, tmp_path, capsys):
    out = tmp_path / "run"
    data = ["--data", f"folder:{pictures}", "--image-size", "16", "--hold-out-groups", "Korean"]
    assert run(["train", "--out", str(out), *data, *SMALL]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["split"] == "unseen groups"
    assert metrics["unseen"]["groups"] == metrics["unseen"]["ways"] == 3
    assert metrics["elbo"]["observations"] == 12
    assert metrics["unseen"]["shots"]["5"] is None  # four drawings have no five shots and a query
    config = json.loads((out / "config.json").read_text())
    assert config["hold_out_groups"] == ["Korean"]
    assert config["image_size"] == 16
    assert (config["network"], config["evidence"]) == ("posed", "random-part")
    said = capsys.readouterr()
    assert "3-way 1-shot" in said.out
    assert "--preset unseen-images is taken" in said.err
    assert run(["evaluate", str(out)]) == 0


def test_without_a_size_pictures_that_differ_are_read_small_and_other_data_as_it_is(
    pictures, tmp_path, capsys
):
    out = tmp_path / "run"
    assert run(["train", "--out", str(out), "--data", f"folder:{pictures}", *SMALL]) == 0
    assert "images are read at 32x32" in capsys.readouterr().err
    config = json.loads((out / "config.json").read_text())
    assert (config["image_size"], config["event_shape"]) == (32, [1, 32, 32])
    new = tmp_path / "new.npz"
    np.savez(new, x=np.zeros((4, 1, 32, 32), dtype=np.uint8), group=np.arange(4) // 2)
    options = ["--data", f"npz:{new}", "--out", str(tmp_path / "a.npz")]
    assert run(["embed", str(out), *options]) == 0


def test_every_command_says_a_size_that_nobody_gave(pictures, capsys):
    config = RunConfig(data=f"folder:{pictures}")
    assert sized(config).image_size == 32
    assert "images are read at 32x32" in capsys.readouterr().err
    sized(config, say=False)
    sized(replace(config, image_size=16))
    # No folder is named, so none is looked through.
    assert sized(RunConfig(data="folder:")).image_size is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_arrays_in_a_file_or_mapped_from_disk_train(kind, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    group = np.arange(60) % 4
    if kind == "npz":
        np.savez(tmp_path / "data.npz", x=x, group=group)
        data = f"npz:{tmp_path / 'data.npz'}"
    else:
        np.save(tmp_path / "x.npy", x)
        np.save(tmp_path / "group.npy", group)
        data = f"npy:{tmp_path}"
    assert run(["train", "--out", str(tmp_path / "run"), "--data", data, *SMALL]) == 0
    assert (tmp_path / "run" / "figures" / "swap.png").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("folder:HERE/none --image-size 16", "none"),
        ("folder:HERE --image-size 16 --hold-out-groups Corean", "Korean"),
        ("folder:HERE --image-size 16 --hold-out-groups Greek Korean", "not all"),
        ("digits --image-size 16", "leave them out"),
        ("npz:HERE/data.npz", "data.npz"),
        ("mnist --data-root HERE", "--download"),
        ("mnits", "did you mean 'mnist'"),
    ],
)
def test_data_that_is_not_right_ends_with_one_sentence(
    options, sentence, pictures, tmp_path, refusal
):
    options = options.replace("HERE", str(pictures)).split()
    assert sentence in refusal("train", "--out", tmp_path / "run", "--data", *options)
    assert not (tmp_path / "run").exists()


def test_the_table_of_data_sets_says_what_is_here_and_how_to_get_the_rest(tmp_path, capsys):
    assert run(["datasets", "--data-root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for said in words("""
        digits glyphs mnist fashion-mnist omniglot celeba lfw folder:PATH npy:DIR 70,000
        --download MIT
    """):
        assert said in out
