"""Data sets of torchvision's own form, grouped by a function of the target."""

import pytest
import torch
from PIL import Image
from torchvision.datasets import FakeData, ImageFolder

from pyro_mlvae import InputError
from pyro_mlvae.data import from_torchvision


def test_a_torchvision_data_set_is_grouped_by_a_function_of_its_target():
    fake = FakeData(size=12, image_size=(3, 6, 5), num_classes=4, random_offset=1)
    data = from_torchvision(fake, group=lambda target: int(target) % 2, label=int)
    assert data.x.dtype == torch.uint8
    assert data.event_shape == (3, 6, 5)
    assert [data.label_names[i] for i in data.label.tolist()] == [int(target) for _, target in fake]
    groups = [int(target) % 2 for _, target in fake]
    assert [data.group_names[i] for i in data.group.tolist()] == groups


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("RGB", 3), ("RGBA", 3), ("P", 3)]
)
def test_images_of_every_mode_become_bytes(mode, channels):
    image = Image.new("L", (4, 3), 255).convert(mode)
    data = from_torchvision([(image, 0), (image, 1)])
    assert data.event_shape == (channels, 3, 4)
    assert data.observations().unique().tolist() == [1.0]


def test_a_folder_of_classes_and_a_transform(tmp_path):
    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    folder = ImageFolder(str(tmp_path), transform=lambda image: torch.zeros(2))
    data = from_torchvision(folder, group=lambda target: folder.classes[target])
    assert data.group_names == ("ann", "bob")
    assert data.event_shape == (2,)


def test_images_of_different_shapes_and_no_images_are_refused():
    with pytest.raises(InputError, match=r"item 0 has \[1, 2\] and item 1 has \[1, 3\]"):
        from_torchvision([(torch.zeros(1, 2), 0), (torch.zeros(1, 3), 1)])
    with pytest.raises(InputError, match="at least one item"):
        from_torchvision([])
