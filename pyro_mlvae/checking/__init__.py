"""Is a model with its guide a sound pair? What is wrong with it, in plain words."""

from pyro_mlvae.checking.check import PairError, check

__all__ = ["PairError", "check"]
