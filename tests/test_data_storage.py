"""How observations are kept: pixels as bytes, large data on disk, the same values either way."""

import numpy as np
import pytest
import torch

from pyro_mlvae import GroupedDataset, GroupSampler, InputError, MLPEncoder, ProductOfNormals
from pyro_mlvae.data.mapped import MappedRows
from pyro_mlvae.latents import encode


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (50, 1, 4, 4), dtype=np.uint8)


@pytest.fixture
def mapped(pixels, tmp_path):
    np.save(tmp_path / "x.npy", pixels)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


GROUP = np.arange(50) % 7


def test_pixels_stay_bytes_and_are_read_as_fractions(pixels):
    data = GroupedDataset.from_arrays(pixels, GROUP)
    assert data.x.dtype == torch.uint8
    torch.testing.assert_close(data.observations(), torch.from_numpy(pixels) / 255)
    assert data.batch(torch.tensor([3])).x.dtype == torch.float32


def test_reading_pixels_does_not_change_them(pixels):
    data = GroupedDataset.from_arrays(pixels, GROUP)
    data.observations()
    data.batch()
    assert torch.equal(data.x, torch.from_numpy(pixels))


def test_data_on_disk_gives_what_data_in_memory_gives(pixels, mapped):
    memory, disk = (GroupedDataset.from_arrays(x, GROUP) for x in (pixels, mapped))
    assert disk.on_disk
    assert not memory.on_disk
    assert disk.event_shape == memory.event_shape
    for a, b in zip(memory.split(seed=1), disk.split(seed=1), strict=True):
        assert b.on_disk
        assert torch.equal(a.observations(), b.observations())
        epochs = (GroupSampler(part, 3, 4, seed=2).epoch(5) for part in (a, b))
        for first, second in zip(*epochs, strict=True):
            assert torch.equal(first.x, second.x)
            assert torch.equal(first.group, second.group)
    guide = ProductOfNormals(MLPEncoder((1, 4, 4), 2, 1))
    assert torch.equal(encode(guide, memory).content.mean, encode(guide, disk).content.mean)


def test_a_part_of_data_on_disk_copies_nothing(mapped):
    part, _ = GroupedDataset.from_arrays(mapped, GROUP).split()
    assert isinstance(part.x, MappedRows)
    assert part.x.array.data_ptr() == mapped.ctypes.data


def test_rows_are_read_in_the_order_asked_for(mapped):
    index = torch.tensor([40, 3, 3, 17])
    read = MappedRows.share(mapped).read(index)
    assert torch.equal(read, torch.from_numpy(np.array(mapped))[index])


def test_numbers_of_another_byte_order_are_read_right(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(3, 2).astype(">f8"))
    data = GroupedDataset.from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), [0, 1, 1])
    assert data.observations().tolist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_nan_on_disk_is_found(tmp_path):
    x = np.zeros((5, 2), dtype=np.float32)
    x[4, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match="x must be finite"):
        GroupedDataset.from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), [0, 0, 1, 1, 1])


def test_numbers_that_are_no_pixels_are_not_scaled():
    data = GroupedDataset.from_arrays(np.array([[0], [255]], dtype=np.int32), [0, 1])
    assert data.observations().flatten().tolist() == [0.0, 255.0]
