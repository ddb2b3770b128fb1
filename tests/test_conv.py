"""Convolutional networks: every image size comes back, and they serve the model and the guide."""

import pytest
import torch
from fake_device import fake, move  # noqa: F401
from normals import normals
from pyro.infer import Trace_ELBO
from torch import nn

from pyro_mlvae import (
    MLVAE,
    GroupedBatch,
    GroupedDataset,
    GroupSampler,
    InputError,
    ProductOfNormals,
    fit,
    make_likelihood,
)
from pyro_mlvae.networks.conv import ConvDecoder, ConvEncoder, default_channels
from pyro_mlvae.networks.mlp import ACTIVATIONS

IMAGES = [
    (1, 28, 28),
    (3, 28, 28),
    (1, 64, 64),
    (3, 64, 64),
    (1, 105, 105),
    (2, 8, 11),
    (3, 33, 20),
]
each_image = pytest.mark.parametrize("event_shape", IMAGES, ids=str)

DIMS = {"content_dim": 3, "style_dim": 2}


def encoder(event_shape=(1, 13, 10), **changes):
    return ConvEncoder(event_shape, **DIMS | {"channels": (4, 6), "hidden": (7,)} | changes)


def decoder(event_shape=(1, 13, 10), **changes):
    return ConvDecoder(event_shape, **DIMS | {"channels": (4, 6), "hidden": (7,)} | changes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@each_image
def test_an_encoder_gives_the_normals_of_content_and_style(event_shape, activation):
    net = encoder(event_shape, channels=None, activation=activation)
    content, style = normals(net, torch.rand(4, *event_shape))
    assert (content.batch_shape, style.batch_shape) == ((4, 3), (4, 2))
    assert (content.event_shape, style.event_shape) == ((), ())
    assert content.loc.isfinite().all()
    assert (style.scale > 0).all()


@pytest.mark.parametrize("outputs", [1, 2])
@each_image
def test_a_decoder_gives_each_parameter_in_the_shape_of_x(event_shape, outputs):
    net = decoder(event_shape, channels=None, outputs=outputs)
    parameters = net(torch.randn(4, 3), torch.randn(4, 2))
    assert [p.shape for p in parameters] == [(4, *event_shape)] * outputs
    assert all(p.isfinite().all() for p in parameters)


@pytest.mark.parametrize("width", range(8, 24))
@pytest.mark.parametrize("channels", [(4,), (4, 4), (4, 4, 4)], ids=len)
def test_every_size_comes_back_exactly(width, channels):
    event_shape = (1, 31 - width, width)
    content, _ = normals(encoder(event_shape, channels=channels), torch.rand(2, *event_shape))
    (x,) = decoder(event_shape, channels=channels)(content.loc, torch.randn(2, 2))
    assert x.shape == (2, *event_shape)


@pytest.mark.parametrize("side", [8, 9, 28, 33, 64])
def test_every_pixel_is_read_and_every_pixel_is_made(side):
    # Kernels that do not meet the border exactly would leave the last row or column out.
    x = torch.rand(1, 1, side, side, requires_grad=True)
    content, _ = normals(encoder((1, side, side), channels=None, activation="silu"), x)
    content.loc.sum().backward()
    assert (x.grad != 0).all()
    net = decoder((1, side, side), channels=None, activation="silu")
    one, other = (net(torch.full((1, 3), value), torch.zeros(1, 2))[0] for value in (0.0, 3.0))
    assert (one != other).all()


@pytest.mark.parametrize(
    ("event_shape", "channels"),
    [
        ((1, 8, 8), (16,)),
        ((1, 28, 28), (16, 32, 64)),
        ((3, 32, 32), (16, 32, 64)),
        ((3, 64, 64), (16, 32, 64, 128)),
        ((3, 128, 64), (16, 32, 64, 128)),
        ((1, 105, 105), (16, 32, 64, 128, 128)),
    ],
)
def test_larger_images_get_more_stages(event_shape, channels):
    assert default_channels(event_shape) == channels


def convolutions(net, kind):
    return [(c.in_channels, c.out_channels) for c in net.layers if isinstance(c, kind)]


def test_the_decoder_is_the_encoders_mirror_image():
    assert convolutions(encoder((3, 28, 28)), nn.Conv2d) == [(3, 4), (4, 6)]
    net = decoder((3, 28, 28), outputs=2, hidden=(9, 7))
    assert convolutions(net, nn.ConvTranspose2d) == [(6, 4), (4, 6)]
    widths = [layer.out_features for layer in net.layers if isinstance(layer, nn.Linear)]
    assert widths == [7, 9, 6 * 7 * 7]


def test_no_activation_stands_behind_the_last_layer():
    assert isinstance(encoder().layers[-1], nn.Linear)
    assert isinstance(decoder().layers[-1], nn.ConvTranspose2d)


@pytest.mark.parametrize("event_shape", [(1, 28, 28), (3, 64, 64), (1, 105, 105)], ids=str)
def test_a_fresh_network_neither_shrinks_nor_swells_what_passes_through(event_shape):
    # Weights that shrink it leave latents that hardly depend on x, and training long in finding it
    # out.
    x = torch.randn(64, *event_shape)
    content, _ = normals(encoder(event_shape, content_dim=20, channels=None, hidden=(256,)), x)
    assert 0.5 < content.loc.std() < 2.0
    net = decoder(event_shape, content_dim=20, channels=None, hidden=(256,))
    (made,) = net(torch.randn(64, 20), torch.randn(64, 2))
    assert 0.5 < made.std() < 2.0


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_parameter_takes_part(activation):
    net = encoder(channels=None, activation=activation)
    content, style = normals(net, torch.rand(9, 1, 13, 10))
    sum((n.loc + n.scale).square().sum() for n in (content, style)).backward()
    back = decoder(channels=None, outputs=2, activation=activation)
    sum(p.square().sum() for p in back(torch.randn(9, 3), torch.randn(9, 2))).backward()
    for name, p in [*net.named_parameters(), *back.named_parameters()]:
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 0, name


def make_pair(event_shape, likelihood="bernoulli", prior_expert=False):
    likelihood = make_likelihood(likelihood)
    model = MLVAE(decoder(event_shape, outputs=likelihood.outputs), likelihood, 3, 2)
    return model, ProductOfNormals(encoder(event_shape), prior_expert=prior_expert)


def make_batch(event_shape):
    return GroupedBatch.trusted(torch.rand(6, *event_shape), torch.tensor([0, 2, 1, 0, 2, 2]), 3)


@pytest.mark.parametrize("likelihood", ["bernoulli", "normal-learned"])
@pytest.mark.parametrize("event_shape", [(1, 28, 28), (3, 13, 10)], ids=str)
def test_they_serve_the_model_and_the_guide_with_vectorised_particles(event_shape, likelihood):
    model, guide = make_pair(event_shape, likelihood, prior_expert=True)
    batch = make_batch(event_shape)
    elbo = Trace_ELBO(num_particles=4, max_plate_nesting=1, vectorize_particles=True)
    loss = elbo.differentiable_loss(model, guide, batch)
    loss.backward()
    assert loss.isfinite()
    for p in [*model.parameters(), *guide.parameters()]:
        assert p.grad.isfinite().all()
        assert p.grad.abs().max() > 0


def test_float64_in_is_float64_out():
    content, style = normals(encoder().double(), torch.rand(4, 1, 13, 10).double())
    (x,) = decoder().double()(content.loc, style.loc)
    assert {content.loc.dtype, content.scale.dtype, style.scale.dtype, x.dtype} == {torch.float64}


def train():
    torch.manual_seed(1)
    model, guide = make_pair((1, 28, 28))
    x = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    fit(
        model,
        guide,
        GroupSampler(GroupedDataset.from_arrays(x, torch.arange(60) % 6), 3, 8),
        epochs=3,
    )
    return [p.detach().clone() for p in [*model.parameters(), *guide.parameters()]]


def test_training_is_bit_identical_when_repeated():
    torch.set_num_threads(2)
    try:
        first, second = train(), train()
    finally:
        torch.set_num_threads(1)
    assert all(map(torch.equal, first, second))


@pytest.mark.usefixtures("fake")
def test_the_elbo_is_computed_where_module_and_batch_are():
    model, guide = make_pair((3, 13, 10))
    batch = make_batch((3, 13, 10)).to("cuda:0")
    elbo = Trace_ELBO(num_particles=2, max_plate_nesting=1, vectorize_particles=True)
    loss = elbo.differentiable_loss(move(model, "cuda:0"), move(guide, "cuda:0"), batch)
    assert loss.device == torch.device("cuda:0")
    assert loss.shape == ()


@pytest.mark.usefixtures("fake")
def test_a_network_left_on_the_cpu_is_noticed():
    """The control of the test above."""
    model, guide = make_pair((3, 13, 10))
    batch = make_batch((3, 13, 10)).to("cuda:0")
    model = move(model, "cuda:0")
    with pytest.raises((RuntimeError, TypeError), match=r"(?i)device"):
        Trace_ELBO(max_plate_nesting=1).differentiable_loss(model, guide, batch)


@pytest.mark.parametrize("shape", [(9, 1, 10, 13), (9, 3, 13, 10), (9, 13, 10), (9, 130)], ids=str)
def test_observations_of_another_shape_are_refused(shape):
    came = ", ".join(map(str, shape[1:]))
    sentence = rf"observations of shape \[1, 13, 10\], .* got \[{came}\]"
    with pytest.raises(InputError, match=sentence):
        encoder()(torch.rand(shape))


def test_latents_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"must have 3 and 2 dimensions, .* got 2 and 3"):
        decoder()(torch.randn(9, 2), torch.randn(9, 3))


@pytest.mark.parametrize("make", [encoder, decoder])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"event_shape": (28, 28)},
            r"images of shape \[channels, height, width\], got .* \[28, 28\]",
        ),
        ({"event_shape": (784,)}, r"got observations of shape \[784\]: .* or use an MLP"),
        ({"event_shape": (1, 1, 28, 28)}, r"got observations of shape \[1, 1, 28, 28\]"),
        ({"event_shape": (0, 28, 28)}, "channels must be a positive whole number, got 0"),
        ({"event_shape": (1, 28, 3)}, r"28 x 3 is too small for 2 .* must be at least 4"),
        ({"channels": ()}, "channels must name those of at least one convolution"),
        ({"channels": (4, 0)}, "channels of stage 2 must be a positive whole number, got 0"),
        ({"channels": (4,) * 4}, "13 x 10 is too small for 4 .* must be at least 16"),
        ({"hidden": ()}, "hidden must name the width of at least one hidden layer"),
        ({"hidden": (0,)}, "width of layer 1 must be a positive whole number, got 0"),
        ({"activation": "rely"}, r"unknown activation 'rely': did you mean 'relu'\?"),
    ],
    ids=str,
)
def test_networks_that_cannot_be_made_are_refused(make, change, sentence):
    with pytest.raises(InputError, match=sentence):
        make(**change)
