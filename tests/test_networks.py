"""Networks: what shapes they take and give, and what they refuse."""

import math

import pytest
import torch
from normals import normals

from pyro_mlvae import InputError, MLPDecoder, MLPEncoder
from pyro_mlvae.networks.conv import ConvDecoder, ConvEncoder
from pyro_mlvae.networks.mlp import ACTIVATIONS
from pyro_mlvae.ops import normal_from_parameters
from pyro_mlvae.solved import LinearEncoder

EVENT_SHAPES = [(6,), (4, 5), (3, 4, 5)]


DIMS = {"content_dim": 3, "style_dim": 2}


def encoder(event_shape=(4, 5), **changes):
    return MLPEncoder(event_shape, **DIMS | {"hidden": (7,)} | changes)


def decoder(event_shape=(4, 5), **changes):
    return MLPDecoder(event_shape, **DIMS | {"hidden": (7,)} | changes)


def conv_decoder(event_shape=(1, 13, 10), **changes):
    return ConvDecoder(event_shape, **DIMS | {"channels": (4, 6), "hidden": (7,)} | changes)


def conv_encoder(event_shape=(1, 13, 10), **changes):
    return ConvEncoder(event_shape, **DIMS | {"channels": (4, 6), "hidden": (7,)} | changes)


def linear_encoder(**changes):
    return LinearEncoder(**DIMS | {"dim": 20} | changes)


@pytest.mark.parametrize("hidden", [(7,), (8, 7)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("event_shape", EVENT_SHAPES, ids=str)
def test_an_encoder_gives_the_normals_of_content_and_style(event_shape, activation, hidden):
    net = encoder(event_shape, activation=activation, hidden=hidden)
    content, style = normals(net, torch.rand(9, *event_shape))
    assert (content.batch_shape, style.batch_shape) == ((9, 3), (9, 2))
    assert (content.event_shape, style.event_shape) == ((), ())


each_encoder = pytest.mark.parametrize(
    ("make", "event_shape"),
    [(encoder, (4, 5)), (linear_encoder, (20,)), (conv_encoder, (1, 13, 10))],
    ids=["mlp", "linear", "conv"],
)


@each_encoder
def test_observations_are_encoded_one_by_one(make, event_shape):
    net, x = make(), torch.rand(9, *event_shape)
    for together, alone in zip(normals(net, x), normals(net, x[4:5]), strict=True):
        torch.testing.assert_close(together.loc[4:5], alone.loc)
        torch.testing.assert_close(together.scale[4:5], alone.scale)


@each_encoder
def test_every_parameter_of_an_encoder_takes_part(make, event_shape):
    net = make()
    content, style = normals(net, torch.rand(9, *event_shape))
    sum((n.loc + n.scale).square().sum() for n in (content, style)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_a_linear_encoder_is_affine_with_scales_of_its_own():
    net, x = LinearEncoder(4, content_dim=3, style_dim=2), torch.rand(5, 4)
    with torch.no_grad():
        net.style_log_scale.copy_(torch.tensor([0.5, -1.0]))
    content, style = normals(net, x)
    torch.testing.assert_close(style.loc, x @ net.style.weight.T + net.style.bias)
    torch.testing.assert_close(content.scale, torch.ones(5, 3))
    torch.testing.assert_close(
        style.scale, (7.0 * (torch.tensor([[0.5, -1.0]]) / 7.0).tanh()).exp().expand(5, 2)
    )


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("event_shape", EVENT_SHAPES, ids=str)
def test_a_decoder_gives_each_parameter_in_the_shape_of_x(event_shape, outputs):
    parameters = decoder(event_shape, outputs=outputs)(torch.randn(9, 3), torch.randn(9, 2))
    assert [p.shape for p in parameters] == [(9, *event_shape)] * outputs


each_decoder = pytest.mark.parametrize(
    ("make", "event_shape"), [(decoder, (4, 5)), (conv_decoder, (1, 13, 10))], ids=["mlp", "conv"]
)


@each_decoder
def test_a_decoders_outputs_are_parameters_of_their_own(make, event_shape):
    loc, raw = make(event_shape, outputs=2)(torch.randn(9, 3), torch.randn(9, 2))
    assert not torch.equal(loc, raw)


@each_decoder
@pytest.mark.parametrize(
    ("content", "style", "batch"),
    [
        ((6, 9), (6, 9), (6, 9)),
        ((9,), (6, 9), (6, 9)),
        ((6, 9), (9,), (6, 9)),
        ((6, 1, 9), (4, 9), (6, 4, 9)),
        ((), (), ()),
    ],
    ids=str,
)
def test_leading_dimensions_of_content_and_style_broadcast(
    make, event_shape, content, style, batch
):
    # As when many particles of one latent meet a single draw of the other.
    net = make(event_shape, outputs=2)
    content, style = torch.randn(*content, 3), torch.randn(*style, 2)
    together = net(content, style)
    assert [p.shape for p in together] == [(*batch, *event_shape)] * 2
    flat = net(content.expand(*batch, 3).reshape(-1, 3), style.expand(*batch, 2).reshape(-1, 2))
    for one, other in zip(together, flat, strict=True):
        torch.testing.assert_close(one.reshape(other.shape), other)


def test_a_decoders_x_depends_on_content_and_on_style():
    content, style = torch.randn(1, 3, requires_grad=True), torch.randn(1, 2, requires_grad=True)
    decoder()(content, style)[0].sum().backward()
    assert content.grad.abs().min() > 0
    assert style.grad.abs().min() > 0


def test_the_halves_of_the_parameters_are_loc_and_log_scale():
    # Where the log scale is small its bound is not felt: 7 tanh(r / 7) = r - r^3 / 147 + ...
    normal = normal_from_parameters(torch.tensor([[5.0, -300.0, 0.3, -0.1]]))
    assert normal.loc.tolist() == [[5.0, -300.0]]
    torch.testing.assert_close(normal.scale.log(), torch.tensor([[0.3, -0.1]]), rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scales_stay_bounded_with_finite_gradients_at_extreme_raw_values(dtype):
    raw = torch.tensor([-3e38, -1e6, -30.0, 0.0, 30.0, 1e6, 3e38], dtype=dtype)
    parameters = torch.cat([torch.zeros_like(raw), raw]).requires_grad_()
    normal = normal_from_parameters(parameters)
    scale = normal.scale.detach()
    assert scale.min() >= math.exp(-7.0) * (1 - 1e-5)
    assert scale.max() <= math.exp(7.0) * (1 + 1e-5)
    assert scale.diff().min() >= 0  # and the order of raw values is kept
    # What is made of a scale in training: a precision, and a log density.
    (normal.scale.pow(-2).sum() + normal.log_prob(torch.ones_like(raw)).sum()).backward()
    assert parameters.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(9, 4, 6), (9, 5, 4), (9, 20), (4, 5), (9, 1, 4, 5)], ids=str)
def test_observations_of_another_shape_are_refused(shape):
    sentence = (
        rf"x must hold observations of shape \[4, 5\], .* got \[{', '.join(map(str, shape[1:]))}\]"
    )
    with pytest.raises(InputError, match=sentence):
        encoder()(torch.rand(shape))


def test_a_linear_encoder_refuses_observations_of_another_size():
    with pytest.raises(InputError, match=r"\[6\].*\[5\]"):
        LinearEncoder(6, content_dim=2, style_dim=2)(torch.rand(9, 5))


@pytest.mark.parametrize("value", [0, -2, True])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (encoder, "content_dim"),
        (encoder, "style_dim"),
        (decoder, "content_dim"),
        (decoder, "style_dim"),
        (decoder, "outputs"),
        (conv_encoder, "content_dim"),
        (conv_encoder, "style_dim"),
        (conv_decoder, "style_dim"),
        (conv_decoder, "outputs"),
        (linear_encoder, "dim"),
        (linear_encoder, "content_dim"),
        (linear_encoder, "style_dim"),
    ],
)
def test_sizes_that_are_not_positive_are_refused_by_name(make, name, value):
    with pytest.raises(InputError, match=f"^{name} must be a positive whole number, got {value}"):
        make(**{name: value})


@pytest.mark.parametrize("make", [encoder, decoder])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hidden": (0,)}, "width of layer 1 must be a positive whole number, got 0"),
        ({"hidden": (4, -1, 4)}, "width of layer 2 must be a positive whole number, got -1"),
        ({"hidden": ()}, "hidden must name the width of at least one hidden layer"),
        ({"event_shape": (4, 0)}, "must be a positive whole number, got 0"),
        (
            {"activation": "tan"},
            r"unknown activation 'tan': did you mean 'tanh'\? Known are tanh, relu, silu",
        ),
    ],
    ids=str,
)
def test_layers_that_cannot_be_made_are_refused(make, change, sentence):
    with pytest.raises(InputError, match=sentence):
        make(**change)


def test_the_decoder_mirrors_the_widths_of_the_encoder():
    def shapes(net):
        return [layer.weight.shape for layer in net.layers if isinstance(layer, torch.nn.Linear)]

    assert shapes(encoder(hidden=(8, 7))) == [(8, 20), (7, 8), (10, 7)]
    assert shapes(decoder(hidden=(8, 7))) == [(7, 5), (8, 7), (20, 8)]


@pytest.mark.parametrize("make", [encoder, decoder])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_stands_between_layers_and_not_after_the_last(make, activation):
    kinds = [type(layer) for layer in make(hidden=(8, 7), activation=activation).layers]
    linear, between = torch.nn.Linear, ACTIVATIONS[activation]
    assert kinds == [linear, between, linear, between, linear]
