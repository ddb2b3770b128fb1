"""Likelihoods around another: of x in its own units, and of values that are not missing."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor

from pyro_mlvae.data.scaling import Scaling
from pyro_mlvae.errors import InputError
from pyro_mlvae.likelihoods.base import Likelihood
from pyro_mlvae.ops import LogVarianceNormal


class ScaledLikelihood(Likelihood):
    """A Normal likelihood of ``(x - shift) / unit``, as the density of x in its own units::

        N(x; unit * loc + shift, unit * scale)

    The Jacobian, ``-log unit`` for every value, is in the density by itself.

    Args:
        likelihood: of scaled x, a Normal.
        scaling: shift and unit, which become buffers, so that they are saved with the weights.

    Raises:
        InputError: the likelihood is no Normal.

    >>> from pyro_mlvae.likelihoods import NormalLikelihood
    >>> pixels = Scaling("range", shift=torch.tensor(0.0), unit=torch.tensor(255.0))
    >>> ScaledLikelihood(NormalLikelihood(0.2), pixels)(torch.tensor([0.5])).stddev
    tensor([51.])
    """

    shift: Tensor
    unit: Tensor

    def __init__(self, likelihood: Likelihood, scaling: Scaling) -> None:
        super().__init__()
        if not likelihood.rescales:
            raise InputError(
                f"a {type(likelihood).__name__} takes x as it is, and cannot be scaled: choose a "
                f"normal likelihood"
            )
        self.likelihood = likelihood
        self.outputs, self.units = likelihood.outputs, likelihood.units
        # Copies: tensors of two modules that share memory cannot be saved.
        self.register_buffer("shift", scaling.shift.clone())
        self.register_buffer("unit", scaling.unit.clone())

    def forward(self, *parameters: Tensor) -> TorchDistributionMixin:
        """The Normal of x, element by element."""
        normal = self.likelihood(*parameters)
        return LogVarianceNormal(
            torch.addcmul(self.shift, normal.loc, self.unit),
            normal.log_variance + 2.0 * self.unit.log(),
        )

    def check(self, x: Tensor) -> None:
        self.likelihood.check(x)


class ObservedLikelihood(Likelihood):
    """A likelihood of the values of x that are there: NaN in x is left out of log p(x).

    The density is that of the observed values, the others integrated out, which for independent
    values is a sum over those that are observed.

    Args:
        likelihood: of whole x, element by element.

    >>> from pyro_mlvae.likelihoods import NormalLikelihood
    >>> x = torch.tensor([0.0, torch.nan])
    >>> ObservedLikelihood(NormalLikelihood(1.0))(torch.zeros(2)).log_prob(x)
    tensor([-0.9189,  0.0000])
    """

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.outputs, self.units = likelihood.outputs, likelihood.units

    def forward(self, *parameters: Tensor) -> TorchDistributionMixin:
        """The distribution of x, element by element."""
        return Observed(self.likelihood(*parameters))

    def check(self, x: Tensor) -> None:
        there = x[~x.isnan()]
        if there.numel():
            self.likelihood.check(there)


class Observed(TorchDistribution):
    """A distribution of independent values, whose log density is 0 where a value is NaN.

    Raises:
        InputError: the values are not independent.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, base_dist: Any) -> None:
        if base_dist.event_shape:
            raise InputError(
                f"missing values need a likelihood that takes values one by one, got one of events "
                f"of shape {list(base_dist.event_shape)}: use another, or fill them"
            )
        self.base_dist = base_dist
        super().__init__(base_dist.batch_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.base_dist.support

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return bool(self.base_dist.has_rsample)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def expand(self, batch_shape: Any, _instance: Any = None) -> Observed:
        return Observed(self.base_dist.expand(batch_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value``, in nats, element by element; 0 where that is missing."""
        missing = value.isnan()
        # What stands in for it is never seen, but must have a finite density for its gradient.
        density: Tensor = self.base_dist.log_prob(value.masked_fill(missing, 0.0))
        return density.masked_fill(missing, 0.0)
