"""Every test is hermetic: seeded, with an empty parameter store and Pyro's validation on."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import jaxtyping
import numpy as np
import pyro
import pytest
import torch
from PIL import Image

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


@contextmanager
def quickly():
    """One kind of probe, few draws, figures made but not rendered: for tests of what stands around them."""
    from matplotlib.figure import Figure

    from pyro_mlvae.evaluation import classifiers, diagnostics, unseen
    from pyro_mlvae.plotting import maps

    def savefig(figure, path, **_):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(noise).save(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "KINDS", (classifiers.LINEAR,))
        patch.setattr(diagnostics, "WEIGHTS", 50)
        patch.setattr(diagnostics, "RANKS", 60)
        patch.setattr(unseen, "WAYS", (5,))
        patch.setattr(maps, "_two_dimensions", lambda codes: codes[:, :2].cpu().numpy())
        patch.setattr(Figure, "savefig", savefig)
        yield


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
        quiet += ["--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-dev-shm-usage"]
        command = [chromium, *quiet, f"--user-data-dir={tmp_path / 'profile'}", *flags, path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)

    return open_page
