"""Every defect that test_fuzz.py has found in what reads files and command lines."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from fitting import make_pair, small_data
from safetensors.torch import load_file, save_file
from torch import nn

from pyro_mlvae import (
    GroupedDataset,
    GroupSampler,
    InputError,
    fit,
    load_dataset,
    make_estimator,
    runs,
)
from pyro_mlvae.cli.main import parse
from pyro_mlvae.errors import is_out_of_memory, printable, require_positive, require_seed
from pyro_mlvae.files import find_path, write_atomically
from pyro_mlvae.runs.config import MOST_LAYERS, RunConfig
from pyro_mlvae.runs.minibatches import make_sampler
from pyro_mlvae.runs.pairs import room_for
from pyro_mlvae.training import Checkpoint

LONG = "a" * 5000
X = np.arange(12, dtype=np.float32).reshape(4, 3)
GROUP = np.array(["ann", "bob", "ann", "cat"])


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(text, version=1, length=None):
    length = len(text) if length is None else length
    size = struct.pack("<H" if version == 1 else "<I", length)
    return b"\x93NUMPY" + bytes((version, 0)) + size + text


def refused(name):
    with pytest.raises(InputError) as error:
        load_dataset(name)
    assert str(error.value).isprintable()
    return str(error.value)


HEADERS = {
    # Python's parser asks for too much memory, or goes too deep.
    "nested": header(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + b"-" * 9000 + b"1}"),
    "keys of two types": header(b"{1: 2, 'a': 3}"),
    "no fields": header(b"{'descr': (), 'fortran_order': False, 'shape': (4,)}"),
    # Any number of them takes no bytes.
    "of no size": header(b"{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "four gigabytes long": header(b"{}", version=2, length=2**32 - 1),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_header_that_deceives_is_refused(content, tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "group.npy").write_bytes(content)
    assert "group.npy is damaged" in refused(f"npy:{tmp_path}")
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("group.npy", content)
    assert "group is damaged" in refused(f"npz:{tmp_path}/data.npz")


def test_a_length_that_a_packed_header_claims_is_not_believed(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header(bytes(2**26), version=2))
        archive.writestr("group.npy", npy(GROUP))
    before = _most_memory()
    assert "x is damaged" in refused(f"npz:{tmp_path}/data.npz")
    assert _most_memory() - before < 2**24


def _most_memory():
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_the_member_that_is_checked_is_the_one_that_is_read(tmp_path):
    # numpy.load takes a member called "x" for the array x, where there is an "x.npy" too.
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("x.npy", npy(X))
        archive.writestr("x", b"no array")
        archive.writestr("group.npy", npy(GROUP))
    assert load_dataset(f"npz:{tmp_path}/data.npz").x.tolist() == X.tolist()


@pytest.mark.parametrize(
    ("x", "group"),
    [
        (X * 1j, GROUP),
        (np.zeros((4, 0), np.uint8), GROUP),
        (X, np.frombuffer(struct.pack("<4I", 65, 2**31, 66, 67), "<U1")),  # no such letter
    ],
    ids=["complex", "of no values", "no text"],
)
def test_arrays_of_what_is_no_observation_or_no_name_are_refused(x, group, tmp_path):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "group.npy", group)
    refused(f"npy:{tmp_path}")


@pytest.mark.parametrize("kind", ["npz:", "npy:", "folder:", "npz:~nobody-of-that-name/"])
def test_a_path_at_which_nothing_can_be_is_refused(kind):
    assert "there can be nothing at" in refused(kind + LONG)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--out", LONG],
        ["train", "--out", "x", "--model", f"{LONG}.py:Model"],
        ["train", "--out", "x", "--data", "mnist", "--data-root", LONG],
        ["train", "--resume", LONG],
        ["evaluate", LONG],
        ["datasets", "--data-root", LONG],
        ["datasets", "--data-root", "~nobody-of-that-name"],
    ],
)
def test_a_path_that_is_too_long_ends_in_one_sentence(arguments, refusal):
    assert "there can be nothing at" in refusal(*arguments)


def test_a_file_whose_temporary_name_would_be_too_long_is_refused(tmp_path):
    path = tmp_path / ("a" * 250)
    with pytest.raises(InputError, match="File name too long"), write_atomically(path) as temporary:
        temporary.write_text("never")
    assert find_path(path) == path


def test_what_a_user_wrote_is_escaped_in_the_last_line(tmp_path, refusal):
    last = refusal("evaluate", f"{tmp_path}/new\nline\x1b[31m")
    assert last.startswith(f"{tmp_path}/new\\nline\\x1b[31m is not")
    assert printable("ünï") == "ünï"


def test_where_boxes_are_drawn_with_hyphens_the_sentence_is_found_too():
    command = [sys.executable, "-m", "pyro_mlvae", "train", "--out"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("pyro-mlvae: Missing value for argument '--out'")
    with pytest.raises(InputError, match="Expected one of"):
        parse([])


def test_a_folder_that_is_no_run_is_not_searched_for_leftovers(tmp_path):
    theirs = tmp_path / "work" / ".thesis.99.tmp"
    theirs.parent.mkdir()
    theirs.write_text("years")
    with pytest.raises(InputError, match="is not a run folder"):
        runs.prepare_run_folder(tmp_path, overwrite=True)
    assert theirs.read_text() == "years"
    # What is left of a run that never began is no obstacle to another.
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".config.99.tmp.json").write_text("{")
    assert not list(runs.prepare_run_folder(tmp_path / "new").iterdir())


# Runs.


@pytest.fixture
def folder(tmp_path):
    path = runs.prepare_run_folder(tmp_path / "run")
    config = RunConfig(hidden=(4,), content_dim=2, style_dim=2)
    runs.save_config(path, config, (1, 8, 8))
    runs.save_weights(path, *config.build((1, 8, 8)))
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"content_dim": 10**12}, "there is room for"),
        ({"content_dim": 2**70}, "content_dim must be at most"),
        ({"content_dim": 2.5}, "content_dim must be of type int, got 2.5"),
        ({"content_dim": True}, "content_dim must be of type int, got True"),
        ({"hidden": [10**9, 10**9]}, "there is room for"),
        ({"hidden": [4] * 101}, f"at most {MOST_LAYERS} layers"),
        ({"hidden": ["a"]}, "hidden must be of type"),
        ({"event_shape": [10**6, 10**6]}, "there is room for"),
        ({"event_shape": [2**40, 2**40]}, "the size of event_shape must be at most"),
        ({"event_shape": [-1]}, "side 0 of event_shape must be a positive"),
        ({"learning_rate": float("inf")}, "learning_rate must be positive and finite"),
        ({"learning_rate": 10**400}, "learning_rate must be of type float"),
        ({"elbo": []}, "elbo must be of type str"),
        ({"model": None}, "model must be of type str, got None"),
        ({"data": 5}, "data must be of type str"),
        ({"seed": 2**32}, "seed must be at most 4294967295"),
        ({"format_version": "1\n2"}, "format_version must be"),
    ],
)
@pytest.mark.usefixtures("types_unchecked")
def test_settings_of_any_other_kind_are_refused(folder, change, sentence):
    file = folder / runs.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=sentence) as error:
        runs.load_run(folder)
    assert str(error.value).isprintable()


def test_a_config_nested_without_end_is_refused(folder):
    (folder / runs.CONFIG).write_text("[" * 100_000)
    with pytest.raises(InputError, match="cannot be read"):
        runs.load_run(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1j])
def test_weights_that_are_not_finite_are_refused(folder, value):
    weights = load_file(folder / runs.WEIGHTS)
    name = next(iter(weights))
    weights[name] = torch.full_like(
        weights[name], value, dtype=torch.complex64 if value == 1j else None
    )
    save_file(weights, folder / runs.WEIGHTS)
    with pytest.raises(InputError, match=f"is damaged .*{name}"):
        runs.load_run(folder)


def test_networks_without_room_are_refused_before_anything_is_allocated():
    with pytest.raises(InputError, match="there is room for 100 parameters"), room_for(100):
        nn.Linear(10**9, 10**9)
    with room_for(100):
        assert nn.Linear(9, 10).weight.shape == (10, 9)
        with pytest.raises(InputError, match="there is room for"):
            torch.empty(size=(1,))
    with pytest.raises(InputError, match="there is room for"):
        RunConfig(hidden=(10**7, 10**7)).build((1, 8, 8))


def test_seeds_and_sizes_that_no_integer_of_the_machine_holds_are_refused():
    require_seed(2**64 - 1)
    with pytest.raises(InputError, match="seed must be at most"):
        require_seed(2**64)
    with pytest.raises(InputError, match="epochs must be at most"):
        require_positive(epochs=2**63)
    data = GroupedDataset.from_arrays(torch.rand(4, 2), [0, 0, 1, 1])
    config = RunConfig(sampler="observations", groups_per_batch=2**62, observations_per_group=2**62)
    assert [len(batch) for batch in make_sampler(config, data).epoch(0)] == [4]


def test_a_want_of_memory_ends_in_one_sentence(monkeypatch, refusal):
    monkeypatch.setattr(RunConfig, "load", lambda *_, **__: torch.empty(2**46))
    assert "not enough memory" in refusal("train", "--out", "x", "--device", "cpu")
    assert not is_out_of_memory(RuntimeError("of another kind"))


@pytest.mark.parametrize("elbo", ["group-iwae", "group-renyi", "dreg", "local"])
def test_the_plain_vae_is_trained_with_estimators_of_groups_too(elbo):
    config = RunConfig(elbo=elbo, hidden=(4,)).plain_vae()
    data = small_data()
    pair, sampler = config.build(data.event_shape), make_sampler(config, data)
    assert len(fit(*pair, sampler, epochs=1, estimator=make_estimator(elbo)).epochs) == 1


# Checkpoints.


def resume(path):
    return fit(*make_pair(), GroupSampler(small_data(), 2), epochs=2, checkpoint=Checkpoint(path))


def test_a_bit_that_flipped_in_a_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    resume(path)
    content = bytearray(path.read_bytes())
    for place in (len(content) - 1, len(content) // 2, 9):
        spoiled = content.copy()
        spoiled[place] ^= 1
        path.write_bytes(spoiled)
        with pytest.raises(InputError, match="is damaged, or of another run"):
            resume(path)
    path.write_bytes(content)
    assert len(resume(path).epochs) == 2
