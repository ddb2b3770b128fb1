"""Every example runs, and every example is listed here."""

import runpy
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from quick import quickly

pytestmark = pytest.mark.filterwarnings("default")

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folders as the examples take them: alphabet, character, and three pictures in each."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for alphabet in ("Greek", "Korean"):
        for character in range(6):
            folder = root / alphabet / f"character{character}"
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = generator.integers(0, 256, (40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder with MNIST's four files, of few drawings: noise, brighter the larger the digit."""
    root = tmp_path_factory.mktemp("data")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 100)):
        digits = np.arange(count) % 10
        images = generator.integers(0, 26, (count, 28, 28)) * digits[:, None, None]
        for kind, array in (("images-idx3", images), ("labels-idx1", digits)):
            header = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return root


WRITES = {
    "quickstart.py": ([], ["swap.png"]),
    "from_scratch.py": ([], ["swap.png"]),
    "omniglot_unseen.py": (["--data", "folder:PICTURES", "--hold-out", "Korean"], ["swap.png"]),
    "faces.py": (["--data", "folder:PICTURES"], ["swap.png"]),
    "mnist.py": (["--data-root", "MNIST"], ["mnist"]),
    "compare_elbos.py": ([], ["elbos"]),
    "custom_guide.py": ([], ["guides.png"]),
    "three_levels.py": (["--data", "folder:PICTURES"], ["characters.png"]),
    "style_leak.py": ([], ["style-leak"]),
    "cells.py": ([], ["cells.png"]),
}


@pytest.fixture
def example(tmp_path, monkeypatch, capsys):
    """Run an example at its smoke size, with the library that is imported; gives what it prints."""

    def run_example(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, "--smoke", *arguments])
        with quickly():
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


@pytest.mark.parametrize("name", WRITES)
def test_the_example_runs_at_its_smoke_size(name, tmp_path, pictures, mnist, example):
    arguments, writes = WRITES[name]
    folders = {"PICTURES": str(pictures), "MNIST": str(mnist)}
    for word, folder in folders.items():
        arguments = [argument.replace(word, folder) for argument in arguments]
    assert example(name, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == writes


def test_the_mnist_example_leaves_a_digit_out_in_its_best_configuration(tmp_path, mnist, example):
    options = ["--data-root", str(mnist), "--configuration", "best", "--hold-out", "9"]
    said = example("mnist.py", *options, "--out", "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "unseen.json",
        "unseen.png",
    ]
    assert "9, never seen" in said


def test_the_omniglot_example_takes_the_official_one_shot_test(tmp_path, pictures, example):
    # Grey, as the drawings of the test are.
    for file in pictures.glob("*/*/*.png"):
        grey = tmp_path / "grey" / file.relative_to(pictures)
        grey.parent.mkdir(parents=True, exist_ok=True)
        Image.open(file).convert("L").save(grey)
    runs = tmp_path / "runs"
    for part in ("training", "test"):
        folder = runs / "run01" / part
        folder.mkdir(parents=True)
        for i in range(2):
            drawing = Image.new("L", (40, 40), "white")
            drawing.paste(0, (5, 5, 10 + 20 * i, 8))
            drawing.save(folder / f"{i}.png")
    lines = [f"run01/test/{i}.png run01/training/{i}.png" for i in range(2)]
    (runs / "run01" / "class_labels.txt").write_text("\n".join(lines))
    options = ["--data", "folder:grey", "--hold-out", "Korean", "--one-shot-runs", "runs"]
    said = example("omniglot_unseen.py", *options)
    assert "error in 2 trials of the one-shot test, chance 0.500" in said
    assert "hausdorff: 0.0000" in said


def test_every_example_is_listed_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(WRITES)
