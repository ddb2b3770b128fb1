"""Every test is hermetic: seeded, with an empty parameter store and Pyro's validation on."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jaxtyping
import pyro
import pytest
import torch
from quick import SMALL, quickly

# Small tests gain nothing from threads, and lose much where other processes want the cores too.
torch.set_num_threads(1)
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _hermetic():
    os.environ["COLUMNS"] = "100"  # of the terminal, which some tests have narrower
    pyro.clear_param_store()
    with pyro.validation_enabled(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield
    pyro.clear_param_store()


@pytest.fixture
def quick_evaluation():
    with quickly():
        yield


@pytest.fixture
def types_unchecked():
    """What the library itself says of a type, not what the checker says that runs under pytest."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def browse(tmp_path):
    """Open a page in a browser that knows no network, and return what it wrote."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")

    def open_page(path, *flags):
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        quiet += [
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--disable-dev-shm-usage",
        ]
        command = [
            chromium,
            *quiet,
            f"--user-data-dir={tmp_path / 'profile'}",
            *flags,
            path.as_uri(),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)

    return open_page


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """``once(name, make)``: the folder that ``make`` fills, and what it gives; once for all workers."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name, make):
        folder, gave = base / name, base / f"{name}.json"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not gave.exists():
                gave.write_text(json.dumps(make(folder)))
        return folder, json.loads(gave.read_text())

    return get


@pytest.fixture(scope="session")
def digits_run(once):
    """A small run on the digits, made through the installed program as a user would: only to be read.

    Its ``folder``, and the ``returncode``, ``stdout`` and ``stderr`` of the program.
    """

    def train(folder):
        command = [sys.executable, "-m", "pyro_mlvae", "train", "--out", str(folder), *SMALL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    folder, said = once("digits-run", train)
    return SimpleNamespace(folder=folder, **said)
