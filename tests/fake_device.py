"""Steps on a device that exists in name only, with their backward pass; a program that prints JSON.

Fake tensors carry a device and no values. PyTorch refuses a backward pass on "cuda" where there is
no GPU, but takes one on a device that was registered. That holds for a whole process, hence a
program.
"""

import json
import sys
from contextlib import ExitStack
from unittest import mock

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro.infer import trace_elbo, trace_mean_field_elbo
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    make_estimator,
)
from pyro_mlvae.penalties import HSIC, WeightedKL
from pyro_mlvae.training import Objective
from pyro_mlvae.training.capture import _recordable
from pyro_mlvae.training.graph import Graph

DEVICE = "notthere:0"
ESTIMATORS = [
    "trace",
    "mean-field",
    "group-iwae",
    "nested-iwae",
    "dreg",
    "piwae",
    "rws",
    "stl",
    "local",
]
LEFT = ["prior", "group", "x", "decoder", "encoder"]


def move(module, device):
    """What ``module.to(device)`` moves, parameters and buffers, without its swap of data in place.

    The swap is refused, now and then, for fake tensors.
    """
    for part in module.modules():
        for name, parameter in part._parameters.items():
            part._parameters[name] = nn.Parameter(parameter.data.to(device))
        for name, buffer in part._buffers.items():
            part._buffers[name] = buffer.to(device)
    return module


@pytest.fixture
def fake():
    """Fake tensors, whose values nothing reads: not validation, not Pyro's loss as a number."""
    with ExitStack() as stack:
        for module in (trace_elbo, trace_mean_field_elbo):
            stack.enter_context(mock.patch.object(module, "torch_item", return_value=0.0))
            stack.enter_context(mock.patch.object(module, "warn_if_nan", return_value=None))
        stack.enter_context(pyro.validation_enabled(False))
        stack.enter_context(FakeTensorMode())
        yield


def step(estimator, how, left=None):
    """The devices of the loss and of every gradient; ``left`` names what stays on the CPU."""
    torch.manual_seed(0)
    model = move(MLVAE(MLPDecoder((4,), 3, 2, hidden=(5,)), NormalLikelihood(), 3, 2), DEVICE)
    guide = move(ProductOfNormals(MLPEncoder((4,), 3, 2, hidden=(5,))), DEVICE)
    own = GroupedBatch.trusted(torch.rand(6, 4), torch.tensor([0, 2, 1, 0, 2, 2]), 3)
    moved = own.to(DEVICE)
    if left == "prior":
        on_cpu = dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1)
        model.content_prior = lambda groups: on_cpu
    elif left in ("group", "x"):
        x, group = (own.x, moved.group) if left == "x" else (moved.x, own.group)
        moved = GroupedBatch.trusted(x, group, 3)
    elif left is not None:
        move({"decoder": model, "encoder": guide}[left].get_submodule(left), "cpu")
    parameters = dict((*model.named_parameters(), *guide.named_parameters()))
    # Pyro's own read their value on the way; what is recorded in their place does not.
    objective = _recordable(
        Objective(make_estimator(estimator), penalties=[HSIC(1.0), WeightedKL("style", 2.0)])
    )
    with pyro.get_param_store().scope():
        for name, module in (("model", model), ("guide", guide)):
            pyro.module(name, module)
        if how == "eager":
            loss = objective.differentiable_loss(model, guide, moved)
            gradients = torch.autograd.grad(loss, [*parameters.values()])
            return sorted({str(tensor.device) for tensor in (loss, *gradients)})
        store = dict(pyro.get_param_store().named_parameters())
        graph = Graph.record(objective, model, guide, moved, store, compile=False)
        done = graph.run(moved, 0)
        return sorted({str(tensor.device) for tensor in (done.loss, done.norm, *done.gradients)})


make = torch.tensor


def tensor(value, *, device=None, **options):
    """As ``torch.tensor``, which has no kernel for a device that is not there."""
    return (
        make(value, **options)
        if device is None
        else torch.full((), value, device=device, **options)
    )


def attempt(*args):
    """The devices, or the first line of the error."""
    try:
        with (
            FakeTensorMode(),
            pyro.validation_enabled(False),
            mock.patch.object(torch, "tensor", tensor),
        ):
            return step(*args)
    except (RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


if __name__ == "__main__":
    backend_registration._setup_privateuseone_for_python_backend("notthere")
    found = {}
    for how in ("eager", "recorded"):
        found |= {f"{estimator} {how}": attempt(estimator, how) for estimator in ESTIMATORS}
        found |= {f"{part} {how}": attempt("trace", how, part) for part in LEFT}
    json.dump(found, sys.stdout)
