"""The terms of the ELBO, as a value that adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ElboTerms:
    """Sums over a number of observations and groups, in nats; they add.

    Attributes:
        reconstruction: the expected log likelihood of the observations.
        kl: for each latent site, the divergence of its posterior from its prior.
        observations: how many observations the sums run over.
        groups: how many groups they run over.

    >>> terms = ElboTerms(-10.0, {"content": 2.0, "style": 3.0}, observations=5, groups=2)
    >>> terms.elbo / terms.observations, (terms + terms).elbo / (terms + terms).groups
    (-3.0, -7.5)
    """

    reconstruction: Any = 0.0
    kl: dict[str, Any] = field(default_factory=dict)
    observations: int = 0
    groups: int = 0

    @property
    def elbo(self) -> Any:
        """Reconstruction minus every divergence: the ELBO of all the groups together."""
        return self.reconstruction - sum(self.kl.values())

    @property
    def observations_per_group(self) -> float:
        """The mean size of the groups."""
        return self.observations / self.groups

    def __add__(self, other: ElboTerms) -> ElboTerms:
        return ElboTerms(
            self.reconstruction + other.reconstruction,
            {
                site: self.kl.get(site, 0.0) + other.kl.get(site, 0.0)
                for site in {**self.kl, **other.kl}
            },
            self.observations + other.observations,
            self.groups + other.groups,
        )

    def floats(self) -> ElboTerms:
        """The same sums as Python numbers; on a GPU this waits for them."""
        kl = {site: float(value) for site, value in self.kl.items()}
        return ElboTerms(float(self.reconstruction), kl, self.observations, self.groups)

    def per_observation(self) -> dict[str, float]:
        """``elbo``, ``reconstruction`` and ``kl_<site>`` in nats per observation."""
        parts = {"elbo": self.elbo, "reconstruction": self.reconstruction}
        parts |= {f"kl_{site}": value for site, value in self.kl.items()}
        return {name: float(value) / self.observations for name, value in parts.items()}
