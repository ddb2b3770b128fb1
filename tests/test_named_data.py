"""Data sets known by name, from small files of the true format, without the network."""

import gzip
import hashlib
import importlib.util
import shutil
import struct
import subprocess
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.datasets import celeba as celeba_module
from torchvision.datasets import lfw as lfw_module
from torchvision.datasets import mnist as mnist_module
from torchvision.datasets import omniglot as omniglot_module
from torchvision.datasets import utils

from pyro_mlvae import InputError
from pyro_mlvae.data import named
from pyro_mlvae.data.idx import _OWNERS
from pyro_mlvae.data.named import NAMED

TRAIN, TEST = 30, 10


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("the network, in a test")

    monkeypatch.setattr(utils.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(utils, "_is_remote_location_available", lambda: False)


@pytest.fixture
def _any_checksum(monkeypatch):
    """Small files cannot have the published checksums: being there is enough."""
    for module in (utils, omniglot_module, celeba_module, lfw_module):
        monkeypatch.setattr(module, "check_integrity", lambda path, md5=None: Path(path).is_file())


def idx(array):
    array = np.asarray(array, dtype=np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files():
    rng = np.random.default_rng(0)
    for part, n in (("train", TRAIN), ("t10k", TEST)):
        yield f"{part}-images-idx3-ubyte", idx(rng.integers(0, 256, (n, 28, 28)))
        yield f"{part}-labels-idx1-ubyte", idx(np.arange(n) % 10)


def write_idx(folder, packed=False):
    folder.mkdir(parents=True)
    for name, content in idx_files():
        file = folder / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(content) if packed else content)


IDX = pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)


@IDX
@pytest.mark.parametrize("layout", ["torchvision's", "torchvision's, packed", "bare", "Debian's"])
def test_idx_files_are_read_wherever_they_may_lie(tmp_path, name, folder, layout):
    place = tmp_path / "root" / folder / "raw" if "torchvision" in layout else tmp_path / "root"
    write_idx(place, packed=layout in ("torchvision's, packed", "Debian's"))
    assert NAMED[name].present(tmp_path / "root")
    data = NAMED[name].load(tmp_path / "root")
    assert data.x.shape == (TRAIN + TEST, 1, 28, 28)
    assert data.x.dtype == torch.uint8
    assert data.x.flatten().tolist() == [
        value for part, content in idx_files() if "images" in part for value in content[16:]
    ]
    assert data.held_out.tolist() == [False] * TRAIN + [True] * TEST
    assert data.parent is None
    labels = [*range(10)] * (TRAIN // 10) + [*range(10)] * (TEST // 10)
    classes = range(10) if name == "mnist" else datasets.FashionMNIST.classes
    assert [data.group_names[i] for i in data.group] == [classes[label] for label in labels]


def test_official_test_observations_are_what_a_split_holds_out(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw")
    train, test = NAMED["mnist"].load(tmp_path).split()
    assert (len(train), len(test)) == (TRAIN, TEST)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_there_is_said_with_how_to_get_it(tmp_path, name):
    info = NAMED[name]
    assert not info.present(tmp_path)
    with pytest.raises(InputError) as error:
        info.load(tmp_path)
    sentence = str(error.value)
    assert f"{info.title} was not found under {tmp_path} (missing: {tmp_path}/" in sentence
    assert "--download" in sentence
    assert f"{info.download_mb} MB, licence: {info.licence}" in sentence
    assert "\n" not in sentence


def test_the_table_needs_neither_torchvision_nor_pillow(tmp_path):
    # Whoever asks what is known is not kept waiting.
    script = f"""if True:
        import sys
        from pyro_mlvae.data.named import NAMED
        print([info.present({str(tmp_path)!r}) for info in NAMED.values()])
        print([name for name in ("torchvision", "PIL") if name in sys.modules])"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == [str([False] * len(NAMED)), "[]"]


@pytest.mark.parametrize("name", NAMED)
def test_the_table_is_complete(name):
    info = NAMED[name]
    assert info.name == name
    assert info.observations > info.groups > 1
    assert len(info.event_shape) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"",
        lambda content: b"<html>not found</html>",
        lambda content: content[:4],
        lambda content: b"\0\0\x0a" + content[3:],
    ],
    ids=["cut short", "too long", "empty", "a web page", "only magic", "unknown type"],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("index", [0, 3])
def test_a_damaged_idx_file_is_named(tmp_path, damage, packed, index):
    write_idx(tmp_path / "MNIST" / "raw", packed)
    name, content = list(idx_files())[index]
    file = tmp_path / "MNIST" / "raw" / (f"{name}.gz" if packed else name)
    file.write_bytes(gzip.compress(damage(content)) if packed else damage(content))
    sentence = rf"MNIST is damaged in {file} .*remove that file, and fetch it"
    with pytest.raises(InputError, match=sentence):
        NAMED["mnist"].load(tmp_path)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(bytes(2000), mtime=0)[:-9], b""])
def test_a_damaged_gz_file_is_named(tmp_path, content):
    write_idx(tmp_path / "root", packed=True)
    (tmp_path / "root" / "train-labels-idx1-ubyte.gz").write_bytes(content)
    sentence = r"damaged in .*train-labels-idx1-ubyte\.gz \(it is no whole IDX file\)"
    with pytest.raises(InputError, match=sentence):
        NAMED["fashion-mnist"].load(tmp_path / "root")


@pytest.mark.parametrize("labels", [[1, 2], [11] * TEST])
def test_labels_that_do_not_match_their_images_are_refused(tmp_path, labels):
    write_idx(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    sentence = r"t10k-images-idx3-ubyte \(its pictures and their labels do not match\)"
    with pytest.raises(InputError, match=sentence):
        NAMED["mnist"].load(tmp_path)


def test_bare_files_of_the_other_data_set_are_recognised(tmp_path, monkeypatch):
    # Both call their files by the same names.
    write_idx(tmp_path / "root")
    digest = hashlib.sha256(bytes(np.arange(TEST, dtype=np.uint8) % 10)).hexdigest()
    monkeypatch.setitem(_OWNERS, digest, "fashion-mnist")
    assert len(NAMED["fashion-mnist"].load(tmp_path / "root")) == TRAIN + TEST
    sentence = "are those of fashion-mnist: load them with --data fashion-mnist"
    with pytest.raises(InputError, match=sentence):
        NAMED["mnist"].load(tmp_path / "root")


@IDX
def test_download_calls_torchvisions_download_with_its_checksums(
    tmp_path, monkeypatch, name, folder
):
    called = {}
    contents = dict(idx_files())

    def fetch(url, download_root, filename, md5):
        called[filename] = md5
        raw = Path(download_root) / filename.removesuffix(".gz")
        raw.write_bytes(contents[raw.name])

    monkeypatch.setattr(mnist_module, "download_and_extract_archive", fetch)
    data = NAMED[name].load(tmp_path, download=True)
    assert called == dict(getattr(datasets, folder).resources)
    assert len(data) == TRAIN + TEST
    called.clear()
    NAMED[name].load(tmp_path, download=True)
    assert not called, "what is there is not fetched again"


@pytest.mark.usefixtures("_gdown")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "omniglot", "celeba"])
def test_a_download_that_fails_is_said_in_a_sentence(tmp_path, name):
    sentence = r"could not be downloaded to .*the network, in a test.*: check"
    with pytest.raises(InputError, match=sentence) as error:
        NAMED[name].load(tmp_path, download=True)
    assert "\n" not in str(error.value)


DRAWINGS = (
    "images_background/Greek/character01",
    "images_background/Greek/character02",
    "images_background/Latin/character01",
    "images_evaluation/Tibetan/character01",
)


def write_omniglot(root):
    base = root / "omniglot-py"
    for i, folder in enumerate(DRAWINGS):
        (base / folder).mkdir(parents=True)
        for j in range(3):
            pixels = np.ones((105, 105), dtype=bool)
            pixels[10 * i : 10 * i + 20, 20 * j :] = False
            Image.fromarray(pixels).convert("1").save(base / folder / f"{i:04d}_{j:02d}.png")
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(base / f"{part}.zip", "w") as archive:
            for file in sorted((base / part).rglob("*.png")):
                archive.write(file, file.relative_to(base))
            archive.writestr("__MACOSX/images_background/Greek/._character01.png", "of no use")


@pytest.mark.usefixtures("_any_checksum")
def test_omniglot_is_both_of_its_parts_by_character_and_alphabet(tmp_path):
    write_omniglot(tmp_path)
    data = NAMED["omniglot"].load(tmp_path)
    assert data.x.shape == (12, 1, 28, 28)
    assert data.x.dtype == torch.uint8
    assert data.group_names == (
        "Greek/character01",
        "Greek/character02",
        "Latin/character01",
        "Tibetan/character01",
    )
    assert data.group.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert [data.parent_names[i] for i in data.parent] == ["Greek", "Greek", "Latin", "Tibetan"]
    assert data.held_out is None
    # Black on white, smoothed.
    assert data.x[0, 0, -1].unique().tolist() == [255]
    assert data.x[0, 0, 0, 5].item() < 128
    assert len(data.x.unique()) > 2


@pytest.mark.usefixtures("_any_checksum")
def test_a_drawing_of_omniglot_that_cannot_be_read_is_named(tmp_path):
    write_omniglot(tmp_path)
    (tmp_path / "omniglot-py" / DRAWINGS[3] / "0003_01.png").write_bytes(b"")
    sentence = r"cannot be read, images_evaluation/Tibetan/.*0003_01\.png \(not an im"
    with pytest.raises(InputError, match=sentence):
        NAMED["omniglot"].load(tmp_path)


def test_download_fetches_and_unpacks_omniglot(tmp_path, monkeypatch):
    source = tmp_path / "source"
    write_omniglot(source)
    sums = {
        part: utils.calculate_md5(source / "omniglot-py" / f"{part}.zip")
        for part in named.OMNIGLOT_PARTS
    }
    monkeypatch.setattr(datasets.Omniglot, "zips_md5", sums)
    fetched = []

    def fetch(url, filename, chunk_size=0):
        fetched.append(url)
        shutil.copy(source / "omniglot-py" / Path(url).name, filename)

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, max_hops=3: url)
    monkeypatch.setattr(utils, "_urlretrieve", fetch)
    root = tmp_path / "root"
    assert len(NAMED["omniglot"].load(root, download=True)) == 12
    prefix = datasets.Omniglot.download_url_prefix
    assert fetched == [f"{prefix}/images_background.zip", f"{prefix}/images_evaluation.zip"]
    # An archive that was fetched, but not unpacked, is only unpacked.
    shutil.rmtree(root / "omniglot-py" / "images_evaluation")
    with pytest.raises(InputError, match=r"missing: .*omniglot-py/images_evaluation\)"):
        NAMED["omniglot"].load(root)
    assert len(NAMED["omniglot"].load(root, download=True)) == 12
    assert len(fetched) == 2


PEOPLE = [2880, 2937, 2880, 8692, 2937]


def write_celeba(root):
    base = root / "celeba"
    (base / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, len(PEOPLE) + 1)]
    rows = {
        "identity_CelebA.txt": [f"{person}" for person in PEOPLE],
        "list_eval_partition.txt": ["0", "0", "1", "2", "2"],
        "list_bbox_celeba.txt": ["   95  71 226 313"] * 5,
        "list_landmarks_align_celeba.txt": [" 69 109 106 113 77 142 73 152 108 154"] * 5,
        "list_attr_celeba.txt": ["  1 -1 -1"] * 5,
    }
    heads = {
        "list_bbox_celeba.txt": "image_id x_1 y_1 width height",
        "list_landmarks_align_celeba.txt": " ".join(f"point_{i}" for i in range(10)),
        "list_attr_celeba.txt": "Smiling Young Bald",
    }
    for file, values in rows.items():
        head = f"{len(names)}\n{heads[file]}\n" if file in heads else ""
        lines = "".join(f"{name} {value}\n" for name, value in zip(names, values, strict=True))
        (base / file).write_text(head + lines)
    for i, name in enumerate(names):
        pixels = np.zeros((218, 178, 3), dtype=np.uint8)
        pixels[35:183, 15:163] = 50 * i, 250 - 50 * i, 100  # the centre square of 148
        Image.fromarray(pixels).save(base / "img_align_celeba" / name, quality=95)


@pytest.mark.usefixtures("_any_checksum")
def test_celeba_is_the_centre_of_every_face_by_person(tmp_path):
    write_celeba(tmp_path)
    data = NAMED["celeba"].load(tmp_path)
    assert data.x.shape == (5, 3, 64, 64)
    assert data.x.dtype == torch.uint8
    assert data.group_names == (2880, 2937, 8692)
    assert data.group.tolist() == [0, 1, 0, 2, 1]
    assert data.held_out is None
    for i, face in enumerate(data.x.int()):
        expected = torch.tensor([50 * i, 250 - 50 * i, 100])[:, None, None]
        assert (face[:, 1:-1, 1:-1] - expected).abs().max() < 12


@pytest.fixture
def _gdown(monkeypatch):
    """A gdown that is installed, and that no network answers."""

    def download(**options):
        raise URLError("the network, in a test")

    module = types.ModuleType("gdown")
    module.__spec__ = importlib.util.spec_from_loader("gdown", None)
    module.download = download
    monkeypatch.setitem(sys.modules, "gdown", module)


@pytest.mark.usefixtures("_gdown")
def test_download_fetches_celeba_by_gdown(tmp_path, monkeypatch):
    source = tmp_path / "source"
    write_celeba(source)
    base = source / "celeba"
    with zipfile.ZipFile(base / "img_align_celeba.zip", "w") as archive:
        for file in sorted((base / "img_align_celeba").iterdir()):
            archive.write(file, file.relative_to(base))
    files = [
        (key, utils.calculate_md5(base / name), name) for key, _, name in datasets.CelebA.file_list
    ]
    monkeypatch.setattr(datasets.CelebA, "file_list", files)
    fetched = []

    def download(*, id, output, **options):
        fetched.append(id)
        shutil.copy(base / Path(output).name, output)

    monkeypatch.setattr(sys.modules["gdown"], "download", download)
    assert len(NAMED["celeba"].load(tmp_path / "root", download=True)) == 5
    assert fetched == [key for key, _, _ in files]


def test_without_gdown_the_download_of_celeba_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    sentence = "needs the package gdown, which is missing: run pip install"
    with pytest.raises(InputError, match=sentence):
        NAMED["celeba"].load(tmp_path, download=True)


FOLDS = [{"Ann_Able": 2, "Bob_Best": 1}, {"Cat_Chan": 3}]


def write_lfw(root, archive="lfw-funneled.tgz", folder="lfw_funneled"):
    base = root / "lfw-py"
    people = {name: count for fold in FOLDS for name, count in fold.items()}
    for i, (name, count) in enumerate(people.items()):
        (base / folder / name).mkdir(parents=True)
        for number in range(1, count + 1):
            pixels = np.zeros((250, 250, 3), dtype=np.uint8)
            pixels[50:200, 50:200] = 60 * i + 10 * number  # the centre square of 150
            Image.fromarray(pixels).save(
                base / folder / name / f"{name}_{number:04d}.jpg", quality=95
            )
    lines = [str(len(FOLDS))]
    for fold in FOLDS:
        lines += [str(len(fold)), *(f"{name}\t{count}" for name, count in fold.items())]
    (base / "people.txt").write_text("\n".join(lines) + "\n")
    (base / "lfw-names.txt").write_text(
        "".join(f"{name}\t{count}\n" for name, count in people.items())
    )
    with tarfile.open(base / archive, "w:gz") as packed:
        packed.add(base / folder, folder)


@pytest.mark.usefixtures("_any_checksum")
@pytest.mark.parametrize("archive", named.LFW_SETS.values(), ids=named.LFW_SETS)
def test_lfw_is_the_centre_of_every_face_by_person(tmp_path, archive):
    write_lfw(tmp_path, *archive)
    assert NAMED["lfw"].present(tmp_path)
    data = NAMED["lfw"].load(tmp_path)
    assert data.x.shape == (6, 3, 64, 64)
    assert data.x.dtype == torch.uint8
    assert data.group_names == ("Ann_Able", "Bob_Best", "Cat_Chan")
    assert data.group.tolist() == [0, 0, 1, 2, 2, 2]
    centres = data.x[:, :, 1:-1, 1:-1].float()
    expected = torch.tensor([10.0, 20.0, 70.0, 130.0, 140.0, 150.0])[:, None, None, None]
    assert float((centres - expected).abs().max()) < 12


@pytest.mark.usefixtures("_any_checksum")
def test_lfw_cannot_be_downloaded_but_what_is_there_is_loaded(tmp_path):
    with pytest.raises(InputError, match=r"by hand \(--download cannot\)"):
        NAMED["lfw"].load(tmp_path, download=True)
    write_lfw(tmp_path)
    assert len(NAMED["lfw"].load(tmp_path, download=True)) == 6


WRITE = {
    "mnist": lambda root: write_idx(root / "MNIST" / "raw"),
    "fashion-mnist": lambda root: write_idx(root / "FashionMNIST" / "raw"),
    "omniglot": write_omniglot,
    "celeba": write_celeba,
    "lfw": write_lfw,
}


@pytest.mark.usefixtures("_any_checksum")
@pytest.mark.parametrize(
    ("name", "held_out", "groups"),
    [
        ("mnist", "3", {3}),
        ("fashion-mnist", "Dress", {3}),
        ("omniglot", "Greek", {0, 1}),
        ("celeba", "2937", {1}),
        ("lfw", "Cat_Chan", {2}),
    ],
)
def test_groups_and_super_groups_can_be_held_out_by_name(tmp_path, name, held_out, groups):
    WRITE[name](tmp_path)
    data = NAMED[name].load(tmp_path)
    train, test = data.split_groups(hold_out=[held_out])
    assert set(test.group.tolist()) == groups
    assert set(train.group.tolist()) == set(range(data.num_groups)) - groups


@pytest.mark.usefixtures("_any_checksum")
@pytest.mark.parametrize(
    ("name", "file", "sentence"),
    [
        (
            "omniglot",
            f"omniglot-py/{DRAWINGS[3]}/0003_01.png",
            r"images_evaluation holds 2 drawings of 3: unpack .*evaluation\.zip again",
        ),
        (
            "celeba",
            "celeba/img_align_celeba/000004.jpg",
            r"img_align_celeba/000004\.jpg \(No such file.*\): unpack their archive",
        ),
        (
            "lfw",
            "lfw-py/lfw_funneled/Cat_Chan/Cat_Chan_0002.jpg",
            r"Cat_Chan_0002\.jpg \(No such file.*\): unpack their archive again",
        ),
    ],
)
def test_a_picture_that_is_missing_is_noticed(tmp_path, name, file, sentence):
    WRITE[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(InputError, match=sentence):
        NAMED[name].load(tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("omniglot", r"images_background\.zip"),
        ("celeba", r"\.txt"),
        ("lfw", r"lfw-funneled\.tgz"),
    ],
)
def test_a_file_with_another_checksum_is_refused(tmp_path, name, file):
    WRITE[name](tmp_path)
    sentence = rf"is damaged \(the MD5 of .*{file} is not the published one"
    with pytest.raises(InputError, match=sentence):
        NAMED[name].load(tmp_path)
