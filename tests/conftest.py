"""Every test is hermetic: seeded, with an empty parameter store and Pyro's validation on."""

import pyro
import pytest
import torch


@pytest.fixture(autouse=True)
def _hermetic():
    pyro.clear_param_store()
    with pyro.validation_enabled(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield
    pyro.clear_param_store()
