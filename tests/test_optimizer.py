"""One optimiser over all the parameters, against PyTorch's own, and against one for each."""

import pyro
import pytest
import torch
from pyro.optim import Adam

from pyro_mlvae.training import JointOptim, fused_adam


@pytest.fixture(autouse=True)
def store():
    with pyro.get_param_store().scope():
        yield


def parameters(*names):
    torch.manual_seed(0)
    return {name: pyro.param(name, torch.randn(3)).unconstrained() for name in names}


def train(optimizer, params, steps=3):
    for step in range(steps):
        for name, parameter in params.items():
            parameter.grad = torch.full_like(parameter, step + len(name))
        optimizer(set(params.values()))
    return torch.cat([parameter.detach() for parameter in params.values()])


def test_it_steps_as_pytorchs_own():
    ours = train(fused_adam(0.1), parameters("a", "bb"))
    pyro.clear_param_store()
    params = parameters("a", "bb")
    plain = torch.optim.Adam(params.values(), lr=0.1)
    for step in range(3):
        for name, parameter in params.items():
            parameter.grad = torch.full_like(parameter, step + len(name))
        plain.step()
    torch.testing.assert_close(ours, torch.cat([p.detach() for p in params.values()]))


def test_gradients_are_gone_after_a_step():
    params = parameters("a")
    train(fused_adam(0.1), params, steps=1)
    assert params["a"].grad is None


def test_settings_may_be_those_of_a_parameter():
    params = parameters("a", "still")
    before = params["still"].detach().clone()
    train(JointOptim(torch.optim.SGD, lambda name: {"lr": 0.0 if name == "still" else 0.1}), params)
    assert torch.equal(params["still"].detach(), before)
    assert not torch.equal(params["a"].detach(), before)


def test_a_parameter_may_come_later():
    optimizer, params = fused_adam(0.1), parameters("a")
    train(optimizer, params)
    params |= parameters("late")
    before = params["late"].detach().clone()
    train(optimizer, params, steps=1)
    assert not torch.equal(params["late"].detach(), before)
    assert optimizer.get_state()["a"]["state"][0]["step"] == 4
    assert optimizer.get_state()["late"]["state"][0]["step"] == 1


@pytest.mark.parametrize("make", [fused_adam, lambda lr: Adam({"lr": lr})])
def test_it_goes_on_from_a_state_of_its_own_or_of_pyros(make):
    params = parameters("a", "bb")
    straight = train(fused_adam(0.1), params, steps=6)
    pyro.clear_param_store()
    params = parameters("a", "bb")
    first = make(0.1)
    train(first, params)
    second = fused_adam(0.1)
    second.set_state(first.get_state())
    # The gradients of steps 3, 4, 5 differ from those of a run that starts again: give it these.
    pyro.clear_param_store()
    resumed = {
        name: pyro.param(name, p.detach().clone()).unconstrained() for name, p in params.items()
    }
    for step in range(3, 6):
        for name, parameter in resumed.items():
            parameter.grad = torch.full_like(parameter, step + len(name))
        second(set(resumed.values()))
    torch.testing.assert_close(torch.cat([p.detach() for p in resumed.values()]), straight)


def test_before_a_step_there_is_no_state():
    assert fused_adam(0.1).get_state() == {}
