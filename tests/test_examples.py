"""Every example runs, and every example is listed here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


WRITES = {
    "quickstart.py": ([], ["swap.png"]),
    "omniglot_unseen.py": (["--data", "folder:PICTURES", "--hold-out", "Korean"], ["swap.png"]),
    "faces.py": (["--data", "folder:PICTURES"], ["swap.png"]),
}


@pytest.mark.parametrize("name", WRITES)
def test_the_example_runs_at_its_smoke_size(name, tmp_path, pictures):
    arguments, writes = WRITES[name]
    arguments = [argument.replace("PICTURES", str(pictures)) for argument in arguments]
    command = [sys.executable, str(EXAMPLES / name), "--smoke", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == writes
    assert done.stdout


def test_every_example_is_listed_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(WRITES)
