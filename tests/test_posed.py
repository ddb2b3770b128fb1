"""Networks around a pose: what is drawn is moved, and the encoder undoes it."""

import math

import pytest
import torch

from pyro_mlvae import GroupedDataset, GroupSampler, ProductOfNormals, fit
from pyro_mlvae.errors import InputError
from pyro_mlvae.networks import PosedDecoder, PosedEncoder
from pyro_mlvae.networks.posed import UNITS, moved
from pyro_mlvae.runs.config import RunConfig

SHAPE, SIDE = (1, 16, 16), 64


@pytest.fixture
def coordinates():
    """An image of where each pixel is, in two channels: bilinear interpolation of it is exact."""
    at = (torch.arange(SIDE, dtype=torch.float64) * 2 + 1) / SIDE - 1
    down, right = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([right, down])


def matrix(pose):
    """The map of a pose as a product of matrices, and its shift."""
    turn, size, aspect, shear, right, down = (pose * torch.tensor(UNITS, dtype=pose.dtype)).tolist()
    turned = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    stretched = [[math.exp(size + aspect), 0.0], [0.0, math.exp(size - aspect)]]
    parts = [
        torch.tensor(part, dtype=pose.dtype)
        for part in (turned, [[1.0, shear], [0.0, 1.0]], stretched)
    ]
    return torch.linalg.multi_dot(parts), pose.new_tensor([right, down])


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_pixels_come_from_where_the_matrices_say(coordinates, undo, seed):
    pose = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = moved(coordinates[None], pose[None], undo=undo)[0]
    m, shift = matrix(pose)
    v = coordinates.flatten(1)
    origin = m @ v + shift[:, None] if undo else torch.linalg.solve(m, v - shift[:, None])
    inside = (origin.abs() < 1 - 1 / SIDE).all(0)
    assert inside.sum() > SIDE
    torch.testing.assert_close(found.flatten(1)[:, inside], origin[:, inside], atol=1e-10, rtol=0)


def test_each_number_of_the_pose_moves_ink_as_it_is_named():
    ink = torch.zeros(1, 1, SIDE, SIDE)
    ink[..., 28:36, 20:44] = 1.0

    def moments(number):
        image = moved(ink, 2.0 * torch.eye(6)[number : number + 1])[0, 0]
        at = torch.arange(SIDE, dtype=image.dtype)
        right, down = (
            (image.sum(0) * at).sum() / image.sum(),
            (image.sum(1) * at).sum() / image.sum(),
        )
        return float(right), float(down), float(image.sum())

    right, down, area = 31.5, 31.5, 8 * 24
    assert moments(4)[0] == pytest.approx(right + 2 * UNITS[4] * SIDE / 2, abs=0.1)
    assert moments(5)[1] == pytest.approx(down + 2 * UNITS[5] * SIDE / 2, abs=0.1)
    assert moments(1)[2] == pytest.approx(area * math.exp(4 * UNITS[1]), rel=0.02)
    for number in (0, 2, 3):  # a turn, an aspect and a shear leave area and middle
        assert moments(number) == pytest.approx((right, down, area), rel=0.02)


def test_a_pose_of_zero_draws_what_the_inner_decoder_draws_and_another_moves_it():
    torch.manual_seed(0)
    decoder = PosedDecoder(SHAPE, content_dim=3, style_dim=8, outputs=2)
    content, rest, pose = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 6)
    drawn = decoder.inner(content, rest)
    for found, own in zip(decoder(content, torch.cat([0 * pose, rest], 1)), drawn, strict=True):
        torch.testing.assert_close(found, own, atol=1e-5, rtol=1e-5)
    for found, own in zip(decoder(content, torch.cat([pose, rest], 1)), drawn, strict=True):
        torch.testing.assert_close(found, moved(own, pose))


def test_training_starts_at_the_pose_of_the_picture_and_learns_where_it_is():
    torch.manual_seed(0)
    config = RunConfig(
        network="posed", content_dim=4, style_dim=7, hidden=(32,), likelihood="normal"
    )
    bar = torch.zeros(1, 1, 16, 16)
    bar[..., 7:9, 4:12] = 1.0
    pose = torch.zeros(64, 6)
    pose[:, 4] = torch.linspace(-1.5, 1.5, 64)
    data = GroupedDataset.from_arrays(moved(bar.expand(64, -1, -1, -1), pose), [0, 1] * 32)
    model, guide = config.build(SHAPE)
    style = guide.style_posterior(guide.encode(data.x), torch.zeros(64, 4))
    assert bool((style.mean[:, :6] == 0).all())
    assert fit(model, guide, GroupSampler(data, 2, 32), epochs=200).eager is None
    found = guide.style_posterior(guide.encode(data.x), torch.zeros(64, 4)).mean
    # The bar, upright in the canonical picture, may sit there a little off its middle.
    assert torch.corrcoef(torch.stack([found[:, 4], pose[:, 4]]))[0, 1] > 0.9


@pytest.mark.parametrize("make", [PosedEncoder, PosedDecoder])
def test_a_style_without_room_beside_the_pose_is_refused(make):
    with pytest.raises(InputError, match="style_dim must be at least 7, got 6"):
        make(SHAPE, content_dim=3, style_dim=6)


def test_a_guide_with_features_of_its_own_is_refused():
    with pytest.raises(InputError, match=r"22 features, but the guide asks for 30: take conv"):
        PosedEncoder(SHAPE, content_dim=4, style_dim=7, width=30)


def test_the_pose_counts_when_it_is_undone():
    """Content of a moved picture is that of the picture, where the pose is known."""
    torch.manual_seed(0)
    encoder = PosedEncoder(SHAPE, content_dim=3, style_dim=7)
    guide = ProductOfNormals(encoder)
    x = torch.zeros(1, 1, 16, 16)
    x[..., 6:10, 5:11] = 1.0
    shift = torch.zeros(1, 6)
    shift[:, 4] = 1.0
    away = moved(x, shift)
    assert not torch.allclose(guide.encode(away), guide.encode(x), atol=1e-3)
    last = encoder.pose.layers[-1]
    last.bias.data[4] = 1.0
    found = guide.encode(away)[:, :6]
    last.bias.data[4] = 0.0
    # Up to what two interpolations blur.
    torch.testing.assert_close(found, guide.encode(x)[:, :6], atol=0.05, rtol=0.1)
