"""Data for a trained pair: taken on the scale of training, or refused with both ranges."""

import math

import numpy as np
import pytest
import torch

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data.ranges import as_in_training, value_range

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 64), dtype="u1")
IMAGES = PIXELS.reshape(12, 1, 8, 8)
# Of uint8 pixels, as config.json keeps it.
UNIT = (0.0, 1.0)


def data_of(x, **options):
    return GroupedDataset.from_arrays(x, np.arange(len(x)) % 2, **options)


def taken(x, trained, uint8, **options):
    return as_in_training("new", data_of(x, **options), trained, uint8).observations()


@pytest.mark.parametrize("x", [PIXELS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u2", ">f4", "f2"])
def test_whole_numbers_are_pixels_where_training_had_pixels(x, dtype):
    got = taken(x.astype(dtype), UNIT, True)
    torch.testing.assert_close(got.float(), torch.tensor(x / 255.0).float())


@pytest.mark.parametrize("x", [PIXELS, IMAGES], ids=["vectors", "images"])
def test_pixels_scaled_to_0_and_1_are_those_pixels(x):
    torch.testing.assert_close(taken((x / 255.0).astype("f4"), UNIT, True), taken(x, UNIT, True))


@pytest.mark.parametrize("x", [PIXELS, IMAGES], ids=["vectors", "images"])
def test_uint8_is_taken_for_numbers_where_training_had_numbers(x):
    torch.testing.assert_close(taken(x, (0.0, 255.0), False), torch.tensor(x).float())
    torch.testing.assert_close(taken(x // 16, (0.0, 16.0), False), torch.tensor(x // 16).float())


def test_uint8_is_taken_for_pixels_where_training_had_them_as_floats():
    torch.testing.assert_close(taken(IMAGES, UNIT, False), torch.tensor(IMAGES / 255.0).float())


def test_a_few_rows_are_taken_as_all_of_them_are():
    whole = taken(PIXELS.astype("f4"), UNIT, True)
    for row in range(len(PIXELS)):
        torch.testing.assert_close(
            taken(PIXELS[row : row + 1].astype("f4"), UNIT, True)[0], whole[row]
        )


def test_black_pixels_alone_say_nothing_of_their_scale():
    for count in (1, 20):
        assert (taken(np.zeros((count, 1, 8, 8)), (0.0, 255.0), False) == 0.0).all()


@pytest.mark.parametrize(
    ("x", "trained", "uint8", "found"),
    [
        (IMAGES.astype("f4"), UNIT, False, "0 to 255"),
        (IMAGES + 0.5, UNIT, True, "0.5 to 255.5"),
        (IMAGES.astype("f4") * 257, UNIT, True, "0 to 6.554e"),
        (IMAGES / 127.5 - 1.0, UNIT, False, "-1 to 1"),
        (IMAGES / 255.0, (0.0, 255.0), False, "0 to 1"),
        (PIXELS.astype("f4"), UNIT, False, "0 to 255"),
        (PIXELS / 255.0, (0.0, 255.0), False, "0 to 1"),
        (PIXELS * 1000.0, (-3.0, 4.0), False, "0 to 2.55e"),
        (IMAGES, (-1.0, 1.0), False, "0 to 1"),
    ],
)
@pytest.mark.parametrize("disk", [False, True])
def test_another_scale_is_refused_with_both_ranges(tmp_path, disk, x, trained, uint8, found):
    data = on_disk(tmp_path, x) if disk else data_of(x)
    before = rf"{trained[0]:g} to {trained[1]:g}: rescale it"
    said = rf"new has values from {found}.*, but training had values from {before}"
    with pytest.raises(InputError, match=said):
        as_in_training("new", data, trained, uint8)


def test_long_tails_of_vectors_are_taken():
    x = np.random.default_rng(0).standard_cauchy((500, 4))
    assert taken(x, (-8.0, 8.0), False).abs().max() > 100.0


def test_a_single_bright_pixel_is_taken():
    x = np.random.default_rng(0).random((20, 1, 8, 8))
    x[3, 0, 2, 2] = 50.0
    assert taken(x, UNIT, False).max() == 50.0


def test_a_single_value_that_float32_cannot_square_is_refused():
    x = np.random.default_rng(0).random((20, 64))
    for value in (1e30, -1e300):
        x[3, 5] = value
        with pytest.raises(InputError, match=r"1e.\d+.*, but training had values from 0 to 1"):
            taken(x, UNIT, False)


def test_missing_values_have_no_range():
    x = IMAGES.astype("f4")
    x[0, 0, 0, 0] = math.nan
    assert value_range(data_of(x, missing="mask")) == (IMAGES.min(), IMAGES.max())
    got = taken(x, UNIT, True, missing="mask")
    assert got[0, 0, 0, 0].isnan()
    torch.testing.assert_close(got[1], torch.tensor(IMAGES[1] / 255.0).float())


def on_disk(folder, x):
    np.save(folder / "x.npy", x)
    return data_of(np.load(folder / "x.npy", mmap_mode="r"))


@pytest.mark.parametrize(
    ("x", "trained", "uint8"),
    [
        (IMAGES, UNIT, True),
        (IMAGES, UNIT, False),
        (IMAGES, (0.0, 255.0), False),
        (IMAGES // 16, (0.0, 16.0), False),
        (IMAGES.astype("f4"), UNIT, True),
        (IMAGES.astype("f8"), UNIT, True),
        (IMAGES.astype("f4"), (0.0, 255.0), False),
        ((IMAGES / 255.0).astype("f4"), UNIT, True),
    ],
)
def test_what_is_on_disk_stays_there_and_is_read_as_from_memory(tmp_path, x, trained, uint8):
    got = as_in_training("new", on_disk(tmp_path, x), trained, uint8)
    assert got.on_disk
    expected = taken(x, trained, uint8)
    assert got.observations().dtype == expected.dtype
    torch.testing.assert_close(got.observations(), expected)
    index = torch.tensor([6, 2])
    torch.testing.assert_close(
        got.subset(torch.arange(5, 12)).observations(index), expected[5:][index]
    )
    assert got.x.shape == x.shape


# Of photographs, of ink on paper, and of paper with ink on it, in [0, 1].
INK = (IMAGES > 220).astype("f4")
SINGLE = {"photograph": IMAGES / 255.0, "ink": INK, "paper": 1.0 - INK}


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("x", SINGLE.values(), ids=SINGLE)
@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.parametrize(
    "change", [lambda x: 2.0 * x - 1.0, lambda x: (x - 0.45) / 0.22, lambda x: x - 0.5]
)
def test_a_few_images_that_leave_the_bounds_of_training_are_refused(x, count, uint8, change):
    with pytest.raises(InputError, match="rescale it to that range"):
        taken(change(x[:count]), UNIT, uint8)


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_observations_that_a_sample_explains_are_taken(count):
    rng = np.random.default_rng(0)
    # Scaled by the least and the largest of training, which new observations may leave in places.
    x = rng.random((count, 40))
    x[:, :3] = [-0.8, 1.9, 3.0]
    taken(x, UNIT, False)
    # Overshoot of a resized image.
    image = rng.random((count, 1, 16, 16))
    image[:, :, ::4] -= 0.08
    taken(image, UNIT, True)
    taken(rng.normal(size=(count, 40)) * 3.0, (-4.0, 4.0), False)
    taken(rng.random((count, 40)), (-1.0, 1.0), False)


@pytest.mark.parametrize("count", [1, 12])
def test_pixels_of_0_to_1_are_not_those_of_minus_1_to_1(count):
    x = np.random.default_rng(0).random((count, 1, 40, 40))
    x[:, :, 0] = 0.0
    with pytest.raises(InputError, match=r"from 0 to .* training had values from -1 to 1"):
        taken(x, (-1.0, 1.0), False)
