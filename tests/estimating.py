"""What the tests of estimators share: the solved model, trainable, and its ELBO in closed form."""

from itertools import cycle

import pytest
import torch
from normals import posterior_of, said_of
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import Normal, kl_divergence

from pyro_mlvae import GroupedBatch
from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel

LOADINGS = {"orthogonal": LinearGaussian.orthogonal, "correlated": LinearGaussian.correlated}
SIZES = torch.tensor([1, 20, 3])
WEIGHTED = ["group-iwae", "group-renyi", "dreg"]
OURS = [*WEIGHTED, "stl", "local"]
# Repetitions are put side by side as further groups: 50 calls on 200 copies are 10,000 draws.
CALLS, COPIES = 50, 200
both_models = pytest.mark.parametrize("make", LOADINGS.values(), ids=LOADINGS)


def problem(make, sizes=SIZES, by=0.05):
    """The solved model, its Pyro model with trainable loadings, a guide ``by`` off, and a batch."""
    solved = make(dim=5, content_dim=3, style_dim=2)
    model, guide = LinearGaussianModel(solved), LinearGaussianGuide.exact(solved)
    for name, value in list(model.decoder.named_buffers()):
        delattr(model.decoder, name)
        # Contiguous, or Pyro's parameter store would hold a copy.
        value = value.clone(memory_format=torch.contiguous_format)
        setattr(model.decoder, name, nn.Parameter(value))
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter += by * torch.randn(parameter.shape, dtype=torch.float64)
    return solved, model, guide, solved.sample(sizes, seed=1)


def exact_elbo(model, guide, batch):
    """The ELBO of all groups, in nats: a sum of squares, whose expectation is elementary."""
    decoder, noise = model.decoder, model.likelihood.scale
    _, style = said_of(guide, batch.x)
    posterior = posterior_of(guide, batch)
    loc, variance = posterior.loc[batch.group], posterior.scale[batch.group].square()
    # Style follows content: what content adds to x comes by both of them.
    style_loc = style.loc - loc @ guide.shift.mT
    style_variance = style.scale.square() + variance @ guide.shift.square().mT
    total_loading = decoder.content_loading - decoder.style_loading @ guide.shift
    x_variance = (
        variance @ total_loading.square().mT
        + style.scale.square() @ decoder.style_loading.square().mT
    )
    zero = batch.x.new_zeros(())
    residual = batch.x - decoder(loc, style_loc)[0]
    reconstruction = Normal(zero, noise).log_prob(residual).sum() - x_variance.sum() / (
        2 * noise**2
    )
    kl_style = 0.5 * (style_loc.square() + style_variance - 1).sum() - style.scale.log().sum()
    return reconstruction - kl_style - kl_divergence(posterior, Normal(zero, zero + 1.0)).sum()


def copies_of(batch, copies):
    """The batch, so many times over."""
    group = batch.group + batch.num_groups * torch.arange(copies).unsqueeze(-1)
    return GroupedBatch(batch.x.repeat(copies, 1), group.flatten(), batch.num_groups * copies)


def draws(estimator, model, guide, batch, calls=CALLS, copies=COPIES):
    """The estimates of so many calls, each a mean over copies of the batch."""
    many = copies_of(batch, copies)
    values = [-estimator.loss(model, guide, many) / copies for _ in range(calls)]
    return torch.tensor(values, dtype=torch.float64)


def parameters(model, guide):
    return {f"{kind} {n}": p for kind, m in zip(("model", "guide"), (model, guide), strict=True)
            for n, p in m.named_parameters()}  # fmt: skip


def gradient(estimator, model, guide, batch):
    """The estimate, as "value", and its gradient, by parameter."""
    found = parameters(model, guide)
    for parameter in found.values():
        parameter.grad = None
    value = -torch.tensor([estimator.loss_and_grads(model, guide, batch)], dtype=torch.float64)
    return {"value": value} | {name: -parameter.grad.flatten() for name, parameter in found.items()}


def gradients(estimator, model, guide, batch, calls=CALLS, copies=COPIES):
    """As ``draws``, with the gradient: ``[calls, size]`` by parameter."""
    many = copies_of(batch, copies)
    found = [gradient(estimator, model, guide, many) for _ in range(calls)]
    return {name: torch.stack([g[name] for g in found]) / copies for name in found[0]}


def standard_error(values):
    return values.std(0) / len(values) ** 0.5


class FixedNoise(Messenger):
    """In the place of the guide's random draws, the next of these: ``loc + scale * noise``."""

    def __init__(self, **noise):
        super().__init__()
        self.noise = {site: cycle(values) for site, values in noise.items()}

    def _pyro_sample(self, msg):
        if msg["name"] in self.noise and not msg["done"]:
            normal = msg["fn"].base_dist
            msg["value"] = normal.loc + normal.scale * next(self.noise[msg["name"]])
