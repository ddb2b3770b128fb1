"""What is one node of autograd's graph: the same values and gradients as PyTorch's, of any order."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap

from pyro_mlvae import MLPEncoder
from pyro_mlvae.ops.nodes import Tanh, tanh


def everywhere(dtype):
    around_zero = torch.linspace(-1e-3, 1e-3, 101, dtype=dtype)
    extremes = torch.tensor([-torch.inf, -1e30, -100.0, 100.0, 1e30, torch.inf], dtype=dtype)
    return torch.cat([torch.linspace(-12.0, 12.0, 100_001, dtype=dtype), around_zero, extremes])


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2.5e-7), (torch.float64, 5e-16)])
def test_the_tanh_is_pytorchs_to_rounding_at_one(dtype, atol):
    x = everywhere(dtype)
    torch.testing.assert_close(tanh(x), torch.tanh(x), rtol=0.0, atol=atol)
    assert tanh(torch.tensor(torch.nan, dtype=dtype)).isnan()
    assert tanh(torch.zeros(2, dtype=dtype)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_tanh_is_pytorchs_own(dtype):
    x = everywhere(torch.float32).to(dtype)
    assert torch.equal(tanh(x), torch.tanh(x))


def test_gradients_of_the_tanh_of_first_and_second_order_are_right():
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(tanh, x)
    assert gradgradcheck(tanh, x)
    # Of a view, whose memory has gaps, as half of a decoder's output is.
    assert gradcheck(lambda x: tanh(x[:, 1:]), x)


def test_the_argument_is_left_alone():
    x = torch.randn(4)
    before = x.clone()
    tanh(x)
    assert torch.equal(x, before)


# PyTorch has some of its forward derivatives from scripts, of which it warns itself.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_forward_mode_sees_pytorchs_own():
    x, tangent = torch.randn(2, 4, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        moved = tanh(torch.autograd.forward_ad.make_dual(x, tangent))
        found = torch.autograd.forward_ad.unpack_dual(moved).tangent
    torch.testing.assert_close(found, tangent * (1.0 - x.tanh().square()))


def test_networks_with_it_take_transforms_of_functions():
    encoder = MLPEncoder((3,), 2, 1).double()
    assert any(isinstance(layer, Tanh) for layer in encoder.layers)
    x = torch.randn(4, 3, dtype=torch.float64)

    def loss(parameters, one):
        content, style = functional_call(encoder, parameters, (one.unsqueeze(0),))
        return content.log_prob(torch.ones(2)).sum() + style.scale.sum()

    parameters = {name: p.detach() for name, p in encoder.named_parameters()}
    of_each = vmap(grad(loss), (None, 0))(parameters, x)
    for i in range(len(x)):
        alone = torch.autograd.grad(loss(dict(encoder.named_parameters()), x[i]), encoder.parameters())
        for (name, _), expected in zip(encoder.named_parameters(), alone, strict=True):
            torch.testing.assert_close(of_each[name][i], expected)
