"""What users hold their groups, values and names in: taken for what it is, or refused in a sentence."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_mlvae import GroupedDataset, InputError
from pyro_mlvae.data.folders import load_folder
from pyro_mlvae.data.torchvision import from_torchvision
from pyro_mlvae.plotting import latent_map

PEOPLE = ["a", "a", "b", "b"]
NUMBERS = np.array([7, 7, 9, 9])


class Series:
    """As pandas and polars have it: what holds the values is not a NumPy array, but can become one."""

    def __init__(self, values):
        self.values = np.array(values, dtype=object)

    def __len__(self):
        return len(self.values)

    def to_numpy(self):
        return self.values


@pytest.mark.parametrize(
    "group",
    [
        [torch.tensor(number) for number in NUMBERS],
        [np.array(number) for number in NUMBERS],
        torch.tensor(NUMBERS, dtype=torch.bfloat16),
        torch.tensor(NUMBERS, dtype=torch.float32, requires_grad=True),
        NUMBERS[:, None],
        torch.tensor(NUMBERS)[:, None],
        np.ma.array(NUMBERS, mask=[False] * 4),
        Series(PEOPLE),
        Series([[name] for name in PEOPLE]),
    ],
)
def test_groups_are_found_in_whatever_holds_them(group):
    data = GroupedDataset.from_arrays(torch.rand(4, 2), group)
    assert data.group.tolist() == [0, 0, 1, 1]
    assert data.group_names in ((7, 9), ("a", "b"))


class Unknown:
    """As pandas' NA: to compare it gives neither true nor false."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "group",
    [
        np.ma.array(NUMBERS, mask=[False, False, True, False]),
        Series(["a", "a", Unknown(), "b"]),
        Series(["a", "a", None, "b"]),
        torch.tensor([0.0, 0.0, torch.nan, 1.0]),
    ],
)
def test_a_missing_group_is_no_group(group):
    with pytest.raises(InputError, match=r"group must be known for every observation.*for observation 2"):
        GroupedDataset.from_arrays(torch.rand(4, 2), group)


@pytest.mark.parametrize("group", [np.eye(4), torch.eye(4), np.zeros((4, 1, 1))])
def test_more_than_one_column_of_groups_is_refused_with_the_remedy(group):
    with pytest.raises(InputError, match=r"group must be one column.*argmax"):
        GroupedDataset.from_arrays(torch.rand(4, 2), group)


def test_x_may_carry_a_graph_and_be_turned_around_on_disk(tmp_path):
    data = GroupedDataset.from_arrays(torch.rand(4, 2, requires_grad=True), PEOPLE)
    assert not data.x.requires_grad
    np.save(tmp_path / "x.npy", np.arange(24, dtype=np.float32).reshape(4, 2, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for turned in (mapped[::-1], mapped[..., ::-1]):
        assert np.array_equal(GroupedDataset.from_arrays(turned, PEOPLE).observations(), turned)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.rand(4, 2).to_sparse(), r"as a dense tensor, got one of layout torch.sparse_coo"),
        (torch.rand(4, 2, device="meta"), r"as a dense tensor, got one on the device meta"),
        (np.ma.array(np.ones((4, 2)), mask=np.eye(4, 2)), r"but 2 are masked"),
        (np.zeros((4, 32, 32, 3), np.uint8), r"whose last dimension looks like channels: use x.transpose"),
    ],
)
def test_values_that_cannot_be_taken_as_they_are_get_one_sentence(x, sentence):
    with pytest.raises(InputError, match=sentence):
        GroupedDataset.from_arrays(x, PEOPLE)


def test_images_of_a_folder_and_of_torchvision_have_the_same_pixels(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    images = {
        "1.png": Image.fromarray(ramp),
        "2.tif": Image.fromarray(ramp.astype(np.int32)),
        "3.png": Image.fromarray((ramp >> 8).astype(np.uint8)).convert("LA"),
    }
    (tmp_path / "ann").mkdir()
    for name, image in images.items():
        image.save(tmp_path / "ann" / name)
    loaded = load_folder(tmp_path)
    pairs = [(image, "ann") for image in images.values()]
    assert torch.equal(from_torchvision(pairs).x, loaded.x)
    assert len(loaded.x[0].unique()) == 64
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert int(from_torchvision([(clear, 0), (clear, 1)]).x.min()) == 255
    with pytest.raises(InputError, match="floating-point"):
        from_torchvision([(Image.fromarray(ramp.astype(np.float32)), 0)])


def test_files_that_are_no_images_are_counted(tmp_path, caplog):
    for name in ("1.png", "2.jfif", "3.gif"):
        Image.new("RGB", (8, 8), "red").save(
            tmp_path / name, format="JPEG" if name.endswith("jfif") else None
        )
    (tmp_path / "notes.txt").write_text("no image")
    with caplog.at_level(logging.WARNING):
        assert len(load_folder(tmp_path)) == 3
    assert "1 files that are no images (1 of .txt)" in caplog.text


@pytest.mark.parametrize("first", ["$", "Ba$$in", "_hidden", "$5 to $10", "caf\udce9", "a\nb", "#"])
def test_names_are_drawn_letter_by_letter(first, tmp_path):
    label = torch.arange(9) % 3
    figure = latent_map(torch.rand(9, 2), torch.rand(9, 2), label, [first, "x1", "x2"])
    figure.savefig(tmp_path / "map.png")
    (legend,) = figure.legends
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == [first.replace("\udce9", r"\udce9").replace("\n", r"\n"), "x1", "x2"]
