"""ELBO estimators by name."""

from __future__ import annotations

from collections.abc import Callable

from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO

from pyro_mlvae.errors import require_positive, unknown_name

ESTIMATORS: dict[str, Callable[..., ELBO]] = {
    "trace": Trace_ELBO,
    "mean-field": TraceMeanField_ELBO,
}


def make_estimator(name: str, num_particles: int = 1) -> ELBO:
    """The ELBO estimator of that name.

    Args:
        name: "trace" (every term by Monte Carlo) or "mean-field" (KL terms in closed form).
        num_particles: draws from the guide that are averaged, vectorised.

    Raises:
        InputError: the name is not known, or ``num_particles`` is not positive.

    >>> make_estimator("trace", num_particles=2).num_particles
    2
    """
    if name not in ESTIMATORS:
        raise unknown_name("ELBO estimator", name, ESTIMATORS)
    require_positive(num_particles=num_particles)
    return ESTIMATORS[name](
        num_particles=num_particles,
        vectorize_particles=num_particles > 1,
        # Both plates sit at dim -1; saying so spares Pyro a trial run and a line in the log.
        max_plate_nesting=1,
    )
