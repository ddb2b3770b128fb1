"""ELBO estimators by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO

from pyro_mlvae.errors import InputError, require_positive, unknown_name
from pyro_mlvae.estimators.ciwae import GroupCIWAE
from pyro_mlvae.estimators.dreg import GroupDReG
from pyro_mlvae.estimators.group_renyi import GroupIWAE, GroupRenyiELBO
from pyro_mlvae.estimators.local import LocalELBO
from pyro_mlvae.estimators.miwae import GroupMIWAE
from pyro_mlvae.estimators.nested import NestedIWAE
from pyro_mlvae.estimators.piwae import GroupPIWAE
from pyro_mlvae.estimators.reweighted_wake_sleep import GroupRWS
from pyro_mlvae.estimators.sticking_the_landing import StickingTheLanding

ESTIMATORS: dict[str, Callable[..., ELBO]] = {
    "trace": Trace_ELBO,
    "mean-field": TraceMeanField_ELBO,
    "graph": TraceGraph_ELBO,
    "renyi": RenyiELBO,
    "group-iwae": GroupIWAE,
    "group-renyi": GroupRenyiELBO,
    "nested-iwae": NestedIWAE,
    "dreg": GroupDReG,
    "miwae": GroupMIWAE,
    "piwae": GroupPIWAE,
    "ciwae": GroupCIWAE,
    "rws": GroupRWS,
    "stl": StickingTheLanding,
    "local": LocalELBO,
}
HAVE_ORDER = ("renyi", "group-renyi")


def make_estimator(
    name: str, num_particles: int = 1, *, alpha: float | None = None, inner: int | None = None
) -> ELBO:
    """The ELBO estimator of that name.

    Args:
        name: Pyro's "trace" (every term by Monte Carlo), "mean-field" (divergences in closed form),
            "graph" (equal to "trace" where every site is reparameterised, as all of ours are) or
            "renyi" (one importance weight for the whole batch, and so loose; under the scale of
            ``fit`` its weights become w^(1/groups), which is "trace" in all but name); or ours,
            "group-iwae" and "group-renyi" (one weight a group), "nested-iwae" (several draws of
            style for each of content, weighed for each observation by itself), "dreg" (group-iwae
            with doubly reparameterised gradients), "miwae" (the mean of several group-iwae),
            "piwae" (group-iwae for the model, miwae for the guide), "ciwae" (half ELBO, half
            group-iwae), "rws" (reweighted wake-sleep), "stl" (sticking the landing) or "local" (a
            draw of content for every observation).
        num_particles: draws from the guide, vectorised; those of content in "nested-iwae".
        alpha: the order of "renyi" and "group-renyi"; by default 0 and 0.5.
        inner: the draws of style for every draw of content in "nested-iwae"; by default 5.

    Raises:
        InputError: the name is not known, a number of draws is not positive, alpha is out of range,
            or alpha or inner is given to an estimator that has none.

    >>> make_estimator("trace", num_particles=2).num_particles
    2
    """
    if name not in ESTIMATORS:
        raise unknown_name("ELBO estimator", name, ESTIMATORS)
    require_positive(num_particles=num_particles)
    options: dict[str, Any] = {}
    if alpha is not None:
        if name not in HAVE_ORDER:
            raise InputError(
                f"alpha is the order of {' and '.join(HAVE_ORDER)}, but the estimator is {name!r}: "
                f"leave it out"
            )
        if name == "renyi" and not (alpha >= 0.0 and alpha != 1.0):
            raise InputError(
                f"alpha must be at least 0 and not 1, whose bound is that of the estimator "
                f"'trace', got {alpha}"
            )
        options["alpha"] = alpha
    if inner is not None:
        if name != "nested-iwae":
            raise InputError(
                f"inner is a number of draws of nested-iwae, but the estimator is {name!r}: leave "
                f"it out"
            )
        options["inner"] = inner
    return ESTIMATORS[name](
        num_particles=num_particles,
        vectorize_particles=num_particles > 1,
        # Both plates sit at dim -1; saying so spares Pyro a trial run and a line in the log.
        max_plate_nesting=1,
        **options,
    )
