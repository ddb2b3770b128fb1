"""Every test is hermetic: seeded, with an empty parameter store and Pyro's validation on."""

import os

import pyro
import pytest
import torch

# Small tests gain nothing from threads, and lose much where other processes want the cores too.
torch.set_num_threads(1)
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _hermetic():
    pyro.clear_param_store()
    with pyro.validation_enabled(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield
    pyro.clear_param_store()
