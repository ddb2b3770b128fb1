"""What the tests of ``fit`` share: small data, small pairs, short runs."""

import torch

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    GroupSampler,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    fit,
)
from pyro_mlvae.training import Checkpoint


def small_data(low=0.0):
    x = torch.rand(24, 5, generator=torch.Generator().manual_seed(0)) + low
    return GroupedDataset.from_arrays(x, torch.arange(24) % 4)


def make_pair(event_shape=(5,), likelihood=None, hidden=(8,), dim=2):
    torch.manual_seed(1)
    likelihood = likelihood or NormalLikelihood()
    model = MLVAE(
        MLPDecoder(event_shape, dim, dim, likelihood.outputs, hidden), likelihood, dim, dim
    )
    return model, ProductOfNormals(MLPEncoder(event_shape, dim, dim, hidden))


def weights(*modules):
    return [p.detach().clone() for module in modules for p in module.parameters()]


def fit_small(model=None, guide=None, *, epochs=3, data=None, **options):
    if model is None:
        model, guide = make_pair()
    data = small_data() if data is None else data
    return fit(model, guide, GroupSampler(data, 3, 4), epochs=epochs, **options)


class Steps:
    """A sampler of so many steps an epoch, all on one minibatch."""

    def __init__(self, batch, number=1):
        self.batch, self.number = batch, number

    def epoch(self, number):
        return iter([self.batch] * self.number)


class Stopped(Exception):
    """Ends a run where a power cut might."""


class Stopping(Checkpoint):
    """A checkpoint that is written after every step, and ends the run after so many writings."""

    def __init__(self, path, after):
        super().__init__(path, every=0.0)
        self.left = after

    def save(self, *arguments):
        super().save(*arguments)
        self.left -= 1
        if not self.left:
            self.end()

    def end(self):
        raise Stopped
