"""Likelihoods by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.likelihoods.base import Likelihood
from pyro_mlvae.likelihoods.bernoulli import BernoulliLikelihood, ContinuousBernoulliLikelihood
from pyro_mlvae.likelihoods.counts import CountsLikelihood
from pyro_mlvae.likelihoods.normal import (
    FeatureNormalLikelihood,
    LearnedNormalLikelihood,
    NormalLikelihood,
)

# Each is made from the shape of one observation.
LIKELIHOODS: dict[str, Callable[[Sequence[int]], Likelihood]] = {
    "normal": lambda _: NormalLikelihood(),
    "normal-per-feature": FeatureNormalLikelihood,
    "normal-learned": lambda _: LearnedNormalLikelihood(),
    "bernoulli": lambda _: BernoulliLikelihood(),
    "continuous-bernoulli": lambda _: ContinuousBernoulliLikelihood(),
    "counts": CountsLikelihood,
}
AUTO = "auto"


def choose_likelihood(name: str, event_shape: Sequence[int], scale: float | None = None) -> str:
    """The name that "auto" stands for, or the name itself.

    Args:
        name: a name of ``LIKELIHOODS``, or "auto": "normal" for images, observations of two or
            three dimensions, and where a scale is given; "normal-per-feature" for vectors.
        event_shape: the shape of one observation.
        scale: the fixed scale of a Normal, if one is asked for.

    >>> choose_likelihood("auto", (1, 28, 28)), choose_likelihood("auto", (20,))
    ('normal', 'normal-per-feature')
    """
    if name != AUTO:
        return name
    return "normal" if scale is not None or len(event_shape) > 1 else "normal-per-feature"


def check_likelihood(name: str, scale: float | None = None, library_size: bool = False) -> None:
    """Raise :class:`InputError` for a name that is unknown, or a setting that it does not take."""
    if name != AUTO and name not in LIKELIHOODS:
        raise unknown_name("likelihood", name, [AUTO, *LIKELIHOODS])
    if library_size and name != "counts":
        raise InputError(
            f"library_size is a setting of the likelihood 'counts', got likelihood {name!r}: leave "
            f"one of them out"
        )
    if scale is None:
        return
    if name not in (AUTO, "normal"):
        raise InputError(
            f"likelihood_scale is the fixed scale of the likelihood 'normal', got likelihood "
            f"{name!r}: leave one of them out"
        )
    NormalLikelihood(scale)


def make_likelihood(
    name: str,
    event_shape: Sequence[int] = (),
    *,
    scale: float | None = None,
    library_size: bool = False,
) -> Likelihood:
    """The likelihood of that name.

    Args:
        name: as for :func:`choose_likelihood`.
        event_shape: the shape of one observation, for likelihoods with a parameter for each
            feature.
        scale: of "normal": its standard deviation, 0.2 by default.
        library_size: of "counts": whether means are shares of each observation's own total.

    Raises:
        InputError: the name is not known, or a setting is given to a likelihood that has none such.

    >>> make_likelihood("bernoulli").units
    'pseudo-nats'
    """
    check_likelihood(name, scale, library_size)
    if library_size:
        return CountsLikelihood(event_shape, library_size=True)
    name = choose_likelihood(name, event_shape, scale)
    if scale is not None:
        return NormalLikelihood(scale)
    return LIKELIHOODS[name](event_shape)
