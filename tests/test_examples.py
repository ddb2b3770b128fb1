"""Every example runs, and every example is listed here."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

WRITES = {"quickstart.py": ["swap.png"]}


@pytest.mark.parametrize("name", WRITES)
def test_the_example_runs_at_its_smoke_size(name, tmp_path):
    command = [sys.executable, str(EXAMPLES / name), "--smoke"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == WRITES[name]
    assert done.stdout


def test_every_example_is_listed_here():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(WRITES)
