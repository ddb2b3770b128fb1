"""The command line, ``pyro-mlvae``."""
