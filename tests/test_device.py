"""Devices and dtypes: everything follows the module and the batch, nothing stays where it was made.

There is no GPU here. Fake tensors carry a device and a shape but no values, and refuse what a GPU
would refuse: an operation on tensors of two devices. They refuse as well to give up a value, so the
forward pass is also seen never to wait for the GPU.

What this cannot see: plain indexing with an index on the CPU, and tensors without dimensions on
the CPU (a GPU takes both too, more slowly); whether values are right; whether a kernel exists on
the GPU, or gives the same bits twice; Pyro's validation, which reads values. The backward pass is
seen by fake_device.py, on a device that is registered for it.
"""

import json
import subprocess
import sys
from pathlib import Path

import fake_device
import pytest
import torch
from fake_device import fake, move  # noqa: F401
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.utils import backend_registration

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    MLPDecoder,
    MLPEncoder,
    ProductOfNormals,
    make_likelihood,
)
from pyro_mlvae.likelihoods import LIKELIHOODS

CUDA = torch.device("cuda:0")

each_estimator = pytest.mark.parametrize("estimator", [Trace_ELBO, TraceMeanField_ELBO])
with_and_without_prior = pytest.mark.parametrize("prior_expert", [False, True])
each_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def make(likelihood="normal", prior_expert=False):
    likelihood = make_likelihood(likelihood)
    model = MLVAE(MLPDecoder((4,), 3, 2, likelihood.outputs, hidden=(5,)), likelihood, 3, 2)
    guide = ProductOfNormals(MLPEncoder((4,), 3, 2, hidden=(5,)), prior_expert=prior_expert)
    return (
        model,
        guide,
        GroupedBatch.trusted(torch.rand(6, 4).round(), torch.tensor([0, 2, 1, 0, 2, 2]), 3),
    )


def loss_on_cuda(estimator, model, guide, batch):
    return estimator(max_plate_nesting=1).differentiable_loss(
        move(model, CUDA), move(guide, CUDA), batch
    )


@each_estimator
@each_likelihood
@with_and_without_prior
@pytest.mark.usefixtures("fake")
def test_the_elbo_is_computed_where_module_and_batch_are(estimator, likelihood, prior_expert):
    model, guide, batch = make(likelihood, prior_expert)
    loss = loss_on_cuda(estimator, model, guide, batch.to("cuda:0"))
    assert loss.device == CUDA
    assert loss.shape == ()


@with_and_without_prior
@pytest.mark.usefixtures("fake")
def test_posteriors_and_codes_are_where_module_and_batch_are(prior_expert):
    _, guide, batch = make(prior_expert=prior_expert)
    guide, batch = move(guide, CUDA), batch.to("cuda:0")
    for groups in (batch.groups, batch.singletons().groups):
        features = guide.encode(batch.x)
        for found in (guide.content_posterior(features, groups), *guide.codes(features, groups)):
            assert {found.mean.device, found.stddev.device} == {CUDA}


@each_estimator
@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("left", ["prior", "group", "x", "decoder", "encoder", "prior expert"])
def test_one_tensor_left_on_the_cpu_is_noticed(estimator, left, monkeypatch):
    """The control: without it, the tests above might pass because nothing is checked at all."""
    model, guide, batch = make(prior_expert=left == "prior expert")
    moved = batch.to("cuda:0")
    model, guide = move(model, CUDA), move(guide, CUDA)
    if left == "prior":
        on_cpu = dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1)
        monkeypatch.setattr(MLVAE, "content_prior", lambda self, groups: on_cpu)
    elif left == "group":
        moved = GroupedBatch.trusted(moved.x, batch.group, 3)
    elif left == "x":
        moved = GroupedBatch.trusted(batch.x, moved.group, 3)
    elif left == "prior expert":
        guide._buffers["_zero"] = torch.zeros(1)
    else:
        move({"decoder": model, "encoder": guide}[left].get_submodule(left), "cpu")
    # A TypeError where Pyro, to add its shapes, rebuilds PyTorch's error without all its arguments.
    with pytest.raises((RuntimeError, TypeError), match=r"(?i)device"):
        estimator(max_plate_nesting=1).differentiable_loss(model, guide, moved)


@pytest.fixture(scope="module")
def on_a_registered_device():
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch cannot register a device without kernels")
    program = Path(__file__).with_name("fake_device.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["eager", "recorded"])
@pytest.mark.parametrize("estimator", fake_device.ESTIMATORS)
def test_a_step_and_its_gradient_are_where_module_and_batch_are(
    on_a_registered_device, estimator, how
):
    assert on_a_registered_device[f"{estimator} {how}"] == [fake_device.DEVICE]


@pytest.mark.parametrize("how", ["eager", "recorded"])
@pytest.mark.parametrize("left", fake_device.LEFT)
def test_a_step_with_one_tensor_left_on_the_cpu_is_noticed(on_a_registered_device, left, how):
    assert "DeviceMismatch" in on_a_registered_device[f"{left} {how}"]


def dtypes(trace):
    """Of every value, log probability and parameter at every site of the story."""
    trace.compute_log_prob()
    for name in {"content", "style", "x"} & set(trace.nodes):
        site = trace.nodes[name]
        normal = site["fn"]
        while isinstance(normal, dist.Independent | dist.ExpandedDistribution):
            normal = normal.base_dist
        parameters = [
            getattr(normal, argument) for argument in normal.arg_constraints if argument != "probs"
        ]
        for tensor in [site["value"], site["log_prob"], *parameters]:
            yield tensor.dtype


@each_likelihood
@with_and_without_prior
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_dtype_in_is_that_dtype_everywhere(likelihood, prior_expert, dtype):
    model, guide, batch = make(likelihood, prior_expert)
    model, guide, batch = model.to(dtype), guide.to(dtype), batch.to(dtype=dtype)
    guide_trace = poutine.trace(guide).get_trace(batch)
    replayed = poutine.trace(poutine.replay(model, guide_trace)).get_trace(batch)
    drawn = poutine.trace(model).get_trace(batch)
    for trace in (guide_trace, replayed, drawn):
        assert set(dtypes(trace)) == {dtype}
    for estimator in (Trace_ELBO, TraceMeanField_ELBO):
        loss = estimator(max_plate_nesting=1).differentiable_loss(model, guide, batch)
        assert loss.dtype == dtype


def test_a_prior_in_another_dtype_is_noticed(monkeypatch):
    """The control of the test above: PyTorch would promote it without a word."""
    model, _, batch = make()
    narrow = dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1)
    monkeypatch.setattr(MLVAE, "content_prior", lambda self, groups: narrow)
    pinned = poutine.condition(model.double(), {"content": torch.zeros(3, 3).double()})
    trace = poutine.trace(pinned).get_trace(batch.to(dtype=torch.float64))
    assert set(dtypes(trace)) == {torch.float32, torch.float64}
