"""The base of every likelihood: from the decoder's outputs to the distribution of x."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_mlvae.errors import InputError


class Likelihood(nn.Module):
    """How x is distributed, given what the decoder says of it: a module, so it may have parameters.

    A subclass defines ``forward(*parameters)``, from ``outputs`` tensors ``[..., *event_shape]`` to
    the distribution of x. Dimensions of x that are not in its event shape are taken for
    independent, so an element-wise distribution will do, and so will a joint one.

    Attributes:
        outputs: how many parameters per value of x the decoder gives.
        units: what log densities are measured in: "nats", or "pseudo-nats" where it is no density.
        rescales: whether it may be said of scaled x, as :class:`ScaledLikelihood` does.
        unit_interval: whether it takes x in [0, 1] alone.
    """

    outputs: int = 1
    units: str = "nats"
    rescales: bool = False
    unit_interval: bool = False

    def mean_like(self, mean: Tensor, x: Tensor) -> Tensor:
        """A mean of x that takes what is given (totals of counts) from the observations ``x``."""
        return mean

    def check(self, x: Tensor) -> None:
        """Raise :class:`InputError` where this likelihood can give no value to ``x``."""
        if x.isnan().any():
            raise InputError(
                "x holds missing values (NaN), which this likelihood does not leave out: build the "
                "model with RunConfig(missing='mask'), or wrap the likelihood in ObservedLikelihood"
            )
