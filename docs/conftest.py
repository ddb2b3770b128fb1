"""The code of these pages is run with quick measurements and figures, see tests/quick.py."""

import pytest
from quick import quickly


@pytest.fixture(autouse=True)
def _quick():
    with quickly():
        yield
