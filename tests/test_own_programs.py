"""The guides and models of the documentation, from the command line: every command takes them."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from pyro_mlvae import load_dataset
from pyro_mlvae.cli.main import run

pytestmark = pytest.mark.usefixtures("quick_evaluation")

DOCS = Path(__file__).parent.parent / "docs"
SMALL = ["--epochs", "1", "--hidden", "8", "--content-dim", "4", "--style-dim", "2", "--no-vae"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The classes of both pages in one file, and some digits with what is known of each."""
    folder = tmp_path_factory.mktemp("own")
    sources = [
        example.source
        for page in ("own-guide.md", "own-model.md")
        for example in doctest.DocTestParser().get_examples((DOCS / page).read_text())
        if example.source.startswith(("class ", "from ", "import "))
    ]
    (folder / "mine.py").write_text("\n".join(sources))
    digits = load_dataset("digits").sample(150)
    loops = np.isin(digits.group, [0, 6, 8, 9]).astype(np.float32)[:, None]
    np.savez(folder / "digits.npz", x=digits.x, group=digits.group, **{"of_groups.loops": loops})
    np.savez(folder / "counts.npz", x=(16 * digits.x).round(), group=digits.group)
    return folder


@pytest.mark.parametrize(
    ("flag", "name", "data"),
    [
        ("--guide", "Flow", "digits"),
        ("--guide", "FullCovariance", "digits"),
        ("--guide", "MixtureOfExperts", "digits"),
        ("--model", "Informed", "digits"),
        ("--model", "Counts", "counts"),
    ],
)
def test_every_command_takes_it(files, flag, name, data):
    folder, data = files / name, f"npz:{files}/{data}.npz"
    program = [flag, f"{files}/mine.py:{name}"]
    assert run(["train", "--data", data, *program, "--out", str(folder), *SMALL]) == 0
    assert run(["evaluate", str(folder)]) == 0
    assert run(["embed", str(folder), "--data", data, "--out", f"{folder}.npz"]) == 0
    assert np.isfinite(np.load(f"{folder}.npz")["group_content_loc"]).all()
    few = {
        "swap": "--content 1 2 --style 3 4",
        "generate": "--rows 2 --columns 2",
        "interpolate": "--steps 3",
        "traverse": "--which style",
    }
    for command, options in few.items():
        assert (
            run([command, str(folder), "--out", f"{folder}-{command}.png", *options.split()]) == 0
        )
        assert Path(f"{folder}-{command}.png").stat().st_size > 1000
