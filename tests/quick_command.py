"""``pyro-mlvae`` with quick probes and figures, for tests that need it in a process of its own."""

import sys

from conftest import quickly

from pyro_mlvae.cli.main import run

if __name__ == "__main__":
    with quickly():
        sys.exit(run(sys.argv[1:]))
