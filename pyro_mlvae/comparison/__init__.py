"""ELBO estimators side by side, on one pair, one batch and the same seeds."""

from pyro_mlvae.comparison.cases import check_cases
from pyro_mlvae.comparison.compare import DEFAULT_ESTIMATORS, USUAL, check_settings, compare_elbos
from pyro_mlvae.comparison.gradients import Moments, gradient_statistics
from pyro_mlvae.comparison.parts import PARTS, gradient_parts
from pyro_mlvae.comparison.problem import Problem, make_problem, mixture_problem, solved_problem
from pyro_mlvae.comparison.sandwich import sandwich

__all__ = [
    "DEFAULT_ESTIMATORS",
    "PARTS",
    "USUAL",
    "Moments",
    "Problem",
    "check_cases",
    "check_settings",
    "compare_elbos",
    "gradient_parts",
    "gradient_statistics",
    "make_problem",
    "mixture_problem",
    "sandwich",
    "solved_problem",
]
