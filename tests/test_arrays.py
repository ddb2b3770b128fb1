"""A user's arrays, in npz or npy files: what is read, what stays on disk, what is refused."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from pyro_mlvae import InputError
from pyro_mlvae.data.arrays import load_npy, load_npz

X = np.arange(12, dtype=np.float32).reshape(4, 3)
GROUP = np.array(["ann", "bob", "ann", "cat"])
LABEL = np.array([1, 0, 1, 1])


def as_npz(folder, arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def as_npy(folder, arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


both = pytest.mark.parametrize(
    ("write", "load"), [(as_npz, load_npz), (as_npy, load_npy)], ids=["npz", "npy"]
)


@both
def test_arrays_become_grouped_data(tmp_path, write, load):
    data = load(write(tmp_path, {"x": X, "group": GROUP, "label": LABEL}))
    assert data.observations().tolist() == X.tolist()
    assert data.group_names == ("ann", "bob", "cat")
    assert data.group.tolist() == [0, 1, 0, 2]
    assert data.label_names == (0, 1)
    assert data.label.tolist() == [1, 0, 1, 1]


@both
def test_without_labels_observations_are_labelled_by_their_group(tmp_path, write, load):
    assert load(write(tmp_path, {"x": X, "group": GROUP})).label_names == ("ann", "bob", "cat")


@both
def test_uint8_stays_uint8_until_it_is_asked_for(tmp_path, write, load):
    data = load(write(tmp_path, {"x": np.full((4, 1, 2, 2), 255, dtype=np.uint8), "group": GROUP}))
    assert data.x.shape == (4, 1, 2, 2)
    assert (data.x.array if data.on_disk else data.x).dtype == torch.uint8
    assert data.observations().dtype == torch.float32
    assert data.observations().unique().tolist() == [1.0]


@both
@pytest.mark.parametrize(
    ("group", "names"),
    [(GROUP.astype("S"), ("ann", "bob", "cat")), (np.array([7, 3, 7, 9]), (3, 7, 9))],
)
def test_groups_may_be_bytes_or_numbers(tmp_path, write, load, group, names):
    assert load(write(tmp_path, {"x": X, "group": group})).group_names == names


@both
def test_other_arrays_are_not_read(tmp_path, write, load):
    junk = np.array([object()], dtype=object)
    assert len(load(write(tmp_path, {"x": X, "group": GROUP, "junk": junk}))) == 4


def test_an_npz_may_be_compressed(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((4, 1000)), group=GROUP)
    assert load_npz(tmp_path / "data.npz").event_shape == (1000,)


def test_x_in_an_npy_file_stays_on_disk(tmp_path):
    data = load_npy(as_npy(tmp_path, {"x": X, "group": GROUP}))
    assert data.on_disk
    assert data.observations().tolist() == X.tolist()


@both
@pytest.mark.parametrize("name", ["x", "group"])
def test_x_and_group_must_be_there(tmp_path, write, load, name):
    arrays = {"x": X, "group": GROUP, "extra": LABEL}
    del arrays[name]
    sentence = rf"must hold the arrays x and group, but has no {name} \(.*extra"
    with pytest.raises(InputError, match=sentence):
        load(write(tmp_path, arrays))


class Bomb:
    """Whoever unpickles it runs code of its author's choice."""

    exploded = False

    def __reduce__(self):
        return (explode, ())


def explode():
    Bomb.exploded = True


@both
@pytest.mark.parametrize("name", ["x", "group", "label"])
def test_pickled_objects_are_refused_and_never_run(tmp_path, write, load, name):
    arrays = {"x": X, "group": GROUP, "label": LABEL, name: np.array([Bomb()] * 4, dtype=object)}
    path = write(tmp_path, arrays)
    Bomb.exploded = False
    with pytest.raises(InputError, match=rf"{name}.* holds pickled Python objects.*{name}\.astype"):
        load(path)
    assert not Bomb.exploded


def test_a_bare_pickle_is_refused_and_never_run(tmp_path):
    (tmp_path / "data.npz").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "x.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "group.npy", GROUP)
    Bomb.exploded = False
    with pytest.raises(InputError, match="is not an npz file"):
        load_npz(tmp_path / "data.npz")
    with pytest.raises(InputError, match="is damaged"):
        load_npy(tmp_path)
    assert not Bomb.exploded


@both
@pytest.mark.parametrize("name", ["group", "label"])
def test_lengths_that_differ_are_refused(tmp_path, write, load, name):
    arrays = {"x": X, "group": GROUP, "label": LABEL, name: LABEL[:3]}
    with pytest.raises(InputError, match=rf"{name} must have one entry .* of x, expected 4, got 3"):
        load(write(tmp_path, arrays))


@both
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"group": LABEL[:, None]}, r"group must be one-dimensional.* got shape \[4, 1\]"),
        ({"group": np.array(1)}, r"group must be one-dimensional.* got shape \[\]"),
        ({"x": X * np.nan}, "x must be finite"),
        ({"x": X[:0], "group": GROUP[:0]}, "x must hold at least one observation"),
        ({"x": X[:, 0]}, r"x\[:, None\] for scalar"),
        ({"x": np.float32(3.0)}, "x must"),
        ({"x": GROUP[:, None]}, "x must be an array of numbers"),
        ({"group": np.array([0.0, 1.0, np.nan, 1.0])}, "group must be known"),
        ({"group": np.array([b"a", b"b", b"\xff", b"c"])}, "utf-8"),
    ],
)
def test_what_is_wrong_with_the_arrays_is_said_with_the_file(
    tmp_path, write, load, change, sentence
):
    path = write(tmp_path, {"x": X, "group": GROUP} | change)
    with pytest.raises(InputError, match=rf"^{path}: .*{sentence}"):
        load(path)


def test_a_path_that_is_not_there_is_refused_with_the_other_kind_where_it_is_one(tmp_path):
    with pytest.raises(InputError, match=r"there is no npz file .*nowhere\.npz: check the path"):
        load_npz(tmp_path / "nowhere.npz")
    with pytest.raises(InputError, match="npy:DIR reads a folder"):
        load_npz(tmp_path)
    with pytest.raises(InputError, match=r"there is no folder .*nowhere of npy files"):
        load_npy(tmp_path / "nowhere")
    with pytest.raises(InputError, match="npz:PATH reads an npz file"):
        load_npy(as_npz(tmp_path, {"x": X, "group": GROUP}))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00"])
def test_what_is_no_zip_is_no_npz(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(
        InputError, match=r"data\.npz is not an npz file: write it with numpy\.savez"
    ):
        load_npz(tmp_path / "data.npz")


def header(shape, dtype="<f4", magic=b"\x93NUMPY\x01\x00"):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return magic + struct.pack("<H", len(text)) + text


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


DAMAGED = {
    "promises too much": header((10**12, 3)) + bytes(48),
    "promises too little": header((2, 3)) + bytes(48),
    "of negative size": header((-4, -3)) + bytes(48),
    "of no shape": header("'four'") + bytes(48),
    "of an unknown type": header((4, 3), "nonsense") + bytes(48),
    "not a header": b"\x93NUMPY\x01\x00\x08\x00(((((((\n",
    "a call": b"\x93NUMPY\x01\x00\x10\x00__import__('os')",
    "no npy": b"x" * 100,
    "empty": b"",
    "cut short": npy(X)[:-1],
    "of a version to come": header((4, 3), magic=b"\x93NUMPY\x09\x00") + bytes(48),
    "of a structure": header((4, 3), magic=b"\x93NUMPY\x03\x00") + bytes(48),
}


def test_the_header_that_damage_is_made_of_is_sound(tmp_path):
    (tmp_path / "x.npy").write_bytes(header((4, 3)) + X.tobytes())
    np.save(tmp_path / "group.npy", GROUP)
    assert load_npy(tmp_path).observations().tolist() == X.tolist()


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_arrays_are_refused(tmp_path, content, monkeypatch):
    # Nothing is allocated by the word of a header: numpy is not even asked.
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: pytest.fail("numpy.load was called"))
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("group.npy", npy(GROUP))
    with pytest.raises(InputError, match=r"data\.npz.*(is damaged|save a plain array)"):
        load_npz(tmp_path / "data.npz")
    (tmp_path / "x.npy").write_bytes(content)
    (tmp_path / "group.npy").write_bytes(npy(GROUP))
    with pytest.raises(InputError, match=r"x\.npy.*(is damaged|save a plain array)"):
        load_npy(tmp_path)


def test_a_zip_entry_that_claims_more_than_can_be_packed_is_refused(tmp_path):
    path = as_npz(tmp_path, {"x": X, "group": GROUP})
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 2**31)  # the size when unpacked
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data\.npz: x is damaged \(its zip entry claims"):
        load_npz(path)


def test_bits_that_flipped_are_noticed(tmp_path):
    path = as_npz(tmp_path, {"x": X, "group": GROUP})
    content = bytearray(path.read_bytes())
    content[content.index(X.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data\.npz is damaged \(.*CRC"):
        load_npz(path)


def test_arrays_larger_than_memory_are_referred_to_npy_files(tmp_path, monkeypatch):
    path = as_npz(tmp_path, {"x": X, "group": GROUP})

    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(InputError, match=r"larger than memory.* npy:DIR"):
        load_npz(path)


def test_an_array_in_fortran_order_is_not_mapped(tmp_path):
    with pytest.raises(InputError, match=r"x\.npy is in Fortran order.*ascontiguousarray"):
        load_npy(as_npy(tmp_path, {"x": np.asfortranarray(X), "group": GROUP}))
    data = load_npz(as_npz(tmp_path, {"x": np.asfortranarray(X), "group": GROUP}))
    assert data.x.tolist() == X.tolist()
