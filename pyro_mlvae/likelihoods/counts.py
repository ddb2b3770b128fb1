"""Likelihoods of counts: negative binomials, also given each observation's total."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor, nn

from pyro_mlvae.errors import InputError
from pyro_mlvae.likelihoods.base import Likelihood

# Of the log inverse dispersion: beyond it a feature is Poisson, or all in a few observations.
_LIMIT = 12.0
# Counts of a feature that is never seen are expected to be this rare.
_SMALLEST_RATE = 0.01
# An observation without any count has no total to share out.
_SMALLEST_TOTAL = 1e-6


class CountsLikelihood(Likelihood):
    """Counts: a negative binomial with the decoder's mean, and a dispersion for each feature::

        x_f ~ NegativeBinomial(mean m_f, variance m_f + m_f^2 / theta_f)
        m_f = rate_f exp(h_f)                           h: the decoder's output
        m_f = total(x) softmax(h + log rate)_f          with ``library_size``

    ``theta`` is learned. With ``library_size`` the total of the observation is a covariate that is
    given, as the depth of sequencing is. Over all vectors of one total these densities sum to the
    probability of that total, which is at most 1: they are a lower bound on the density of the
    counts given their total. Draws and means are those of an observation of ``rate.sum()`` counts.

    Args:
        event_shape: the shape of one observation.
        library_size: whether means are shares of the observation's own total; takes vectors.
        rate: where means start, positive, such as the mean count of each feature in the training
            part; 1 by default.

    Raises:
        InputError: ``library_size`` is asked for and observations are no vectors.

    Reference: Lopez, Regier, Cole, Jordan, Yosef (2018), Deep generative modeling for single-cell
    transcriptomics.

    >>> CountsLikelihood((3,))(torch.zeros(2, 3)).log_prob(torch.tensor([0.0, 1.0, 2.0]))[0]
    tensor([-0.6931, -1.3863, -2.0794], grad_fn=<SelectBackward0>)
    """

    rate: Tensor

    def __init__(
        self, event_shape: Sequence[int], library_size: bool = False, rate: Tensor | None = None
    ) -> None:
        super().__init__()
        if library_size and len(event_shape) != 1:
            raise InputError(
                f"library_size shares out the total of a vector of counts, got observations of "
                f"shape {list(event_shape)}: leave it out, or flatten x"
            )
        self.library_size = library_size
        self.log_inverse_dispersion = nn.Parameter(torch.zeros(tuple(event_shape)))
        rate = torch.ones(tuple(event_shape)) if rate is None else rate.clamp(min=_SMALLEST_RATE)
        # A buffer, so that it is saved with the weights.
        self.register_buffer("rate", rate)

    def start_at(self, rate: Tensor) -> None:
        """Let means start at ``rate``, of the shape of one observation."""
        self.rate.copy_(rate.clamp(min=_SMALLEST_RATE))

    def mean_like(self, mean: Tensor, x: Tensor) -> Tensor:
        return mean * (x.sum(-1, keepdim=True) / self.rate.sum()) if self.library_size else mean

    def forward(self, raw: Tensor) -> TorchDistributionMixin:
        """The distribution of the counts: of each by itself, or of a vector given its total."""
        log_theta = self.log_inverse_dispersion.clamp(-_LIMIT, _LIMIT)
        raw = raw + self.rate.log()
        if self.library_size:
            return CountsGivenTotal(raw.log_softmax(-1), log_theta, self.rate.sum())
        return CountsNegativeBinomial(log_theta.exp(), logits=raw - log_theta)

    def check(self, x: Tensor) -> None:
        super().check(x)
        wrong = x[(x < 0) | (x != x.floor())]
        if len(wrong):
            raise InputError(
                f"a counts likelihood takes whole numbers of at least 0, got "
                f"{float(wrong[0]):.4g}: give raw counts (not as uint8, which is taken for "
                f"pixels), or choose a normal likelihood"
            )


class CountsNegativeBinomial(dist.NegativeBinomial):
    """A negative binomial that takes its density in double precision, and gives it in its own.

    In single precision the log-gammas of a large inverse dispersion cancel: at 1e5 the density of a
    single value is wrong by up to 0.15 nats.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value``, in nats, element by element."""
        if self._validate_args:
            self._validate_sample(value)
        theta, logits = self.total_count.double(), self.logits.double()
        exact = dist.NegativeBinomial(theta, logits=logits, validate_args=False)
        return exact.log_prob(value.double()).to(self.logits.dtype)


class CountsGivenTotal(TorchDistribution):
    """A vector of counts with means ``total * share``, where the total is that of the value itself.

    Args:
        log_share: log of the shares, which sum to 1, ``[*batch, features]``.
        log_theta: log inverse dispersions, ``[features]``.
        total: of draws and of the mean, a scalar.

    >>> log_share = torch.tensor([0.25, 0.75]).log()
    >>> CountsGivenTotal(log_share, torch.zeros(2), torch.tensor(8.0)).mean
    tensor([2., 6.])
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012
    support = dist.constraints.independent(dist.constraints.nonnegative_integer, 1)

    def __init__(
        self,
        log_share: Tensor,
        log_theta: Tensor,
        total: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        self.log_share, self.log_theta, self.total = log_share, log_theta, total
        super().__init__(log_share.shape[:-1], log_share.shape[-1:], validate_args=validate_args)

    def given(self, total: Tensor) -> CountsNegativeBinomial:
        """The counts one by one, given a total that broadcasts with ``[*batch, 1]``."""
        logits = self.log_share + total.log() - self.log_theta
        return CountsNegativeBinomial(self.log_theta.exp(), logits=logits, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Of an observation of ``total`` counts."""
        return self.total * self.log_share.exp()

    @property
    def variance(self) -> Tensor:
        return self.given(self.total).variance

    def expand(self, batch_shape: Any, _instance: Any = None) -> CountsGivenTotal:
        log_share = self.log_share.expand(torch.Size(batch_shape) + self.event_shape)
        new = CountsGivenTotal(log_share, self.log_theta, self.total, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Observations of about ``total`` counts."""
        return self.given(self.total).sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density at ``value`` given its total, in nats, ``[*batch]``."""
        if self._validate_args:
            self._validate_sample(value)
        total = value.sum(-1, keepdim=True).clamp(min=_SMALLEST_TOTAL)
        return self.given(total).log_prob(value).sum(-1)
