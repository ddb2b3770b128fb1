"""``python -m pyro_mlvae`` is ``pyro-mlvae``."""

from pyro_mlvae.cli.main import main

if __name__ == "__main__":
    main()
