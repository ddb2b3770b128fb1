"""What users hold groups, values and names in: taken for what it is, or refused in words."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import sparse

from pyro_mlvae import GroupedDataset, InputError, MultiLevelVAE, load_dataset
from pyro_mlvae.data.folders import load_folder
from pyro_mlvae.data.torchvision import from_torchvision
from pyro_mlvae.plotting import latent_map

PEOPLE = ["a", "a", "b", "b"]
NUMBERS = np.array([7, 7, 9, 9])


class Series:
    """As pandas and polars have it: no NumPy array, but what can become one."""

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
        Series(["a", "a", Unknown(), "b"]),
        Series(["a", "a", None, "b"]),
        torch.tensor([0.0, 0.0, torch.nan, 1.0]),
    ],
)
def test_a_missing_group_is_no_group(group):
    with pytest.raises(
        InputError, match=r"group must be known for every observation.*for observation 2"
    ):
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
        (torch.rand(4, 2).to(torch.float8_e4m3fn), r"got one of torch.float8_e4m3fn: use x.float"),
        (
            torch.ones(4, 2, dtype=torch.complex64).conj(),
            r"x must hold real numbers, got torch.complex64",
        ),
    ],
)
def test_values_that_cannot_be_taken_as_they_are_get_one_sentence(x, sentence):
    for take in (
        lambda: GroupedDataset.from_arrays(x, PEOPLE),
        lambda: MultiLevelVAE().fit(x, groups=PEOPLE),
    ):
        with pytest.raises(InputError, match=sentence):
            take()


@pytest.mark.parametrize(
    "x", [np.eye(4, dtype=np.longdouble), np.eye(4).astype(object), sparse.csr_array(np.eye(4))]
)
def test_numbers_are_found_in_whatever_holds_them_or_named(x):
    if hasattr(x, "toarray"):
        with pytest.raises(InputError, match=r"got a sparse one: use x.toarray\(\)"):
            GroupedDataset.from_arrays(x, PEOPLE)
    else:
        assert torch.equal(
            GroupedDataset.from_arrays(x, PEOPLE).x, torch.eye(4, dtype=torch.float64)
        )


@pytest.mark.parametrize("group", [(i for i in range(4)), None, 3, {0, 1, 2, 3}, "abba", {"a": 1}])
def test_groups_that_are_in_no_order_or_none_get_one_sentence(group):
    with pytest.raises(
        InputError, match=r"group must be a sequence .* got a \w+: give a list or an array"
    ):
        GroupedDataset.from_arrays(torch.rand(4, 2), group)


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((4, 32, 32, 3), "use x.transpose"),
        ((4, 8, 5, 1), "use x.transpose"),
        ((4, 64, 2), "use x.reshape"),
        ((4, 64, 1), "use x.reshape"),
    ],
)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_channels_that_come_last_are_named_wherever_x_comes_from(shape, remedy, dtype, tmp_path):
    x, group = np.zeros(shape, dtype), np.array(PEOPLE)
    np.savez(tmp_path / "x.npz", x=x, group=group)
    (tmp_path / "npy").mkdir()
    for name, array in (("x", x), ("group", group)):
        np.save(tmp_path / "npy" / f"{name}.npy", array)
    pairs = list(zip(x, PEOPLE, strict=True))
    for take in (
        lambda: GroupedDataset.from_arrays(x, group),
        lambda: GroupedDataset.from_arrays(torch.from_numpy(x), group),
        lambda: GroupedDataset.from_arrays(x.tolist(), group),
        lambda: load_dataset(f"npz:{tmp_path / 'x.npz'}"),
        lambda: load_dataset(f"npy:{tmp_path / 'npy'}"),
        lambda: from_torchvision(pairs, lazy=True),
        lambda: MultiLevelVAE().fit(x, groups=group),
    ):
        with pytest.raises(
            InputError, match=rf"whose last dimension looks like channels: {remedy}"
        ):
            take()


@pytest.mark.parametrize(
    "shape",
    [(4, 3, 32, 4), (4, 3, 5, 3), (4, 2, 3), (4, 3, 64), (4, 16, 4), (4, 8, 3), (4, 1, 8, 3)],
)
def test_few_channels_that_come_first_and_small_images_are_taken(shape):
    assert GroupedDataset.from_arrays(np.ones(shape), PEOPLE).event_shape == shape[1:]


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
