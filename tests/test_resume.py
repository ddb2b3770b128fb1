"""Runs that are interrupted, killed, or run out of disk end as if nothing had happened."""

import functools
import io
import json
import os
import random
import resource
import signal
import sys
import time

import numpy as np
import pyro
import pytest
import torch
from fitting import Stopped, Stopping, make_pair, small_data, weights
from safetensors.torch import load_file, save_file

from pyro_mlvae import GroupSampler, InputError, fit, runs
from pyro_mlvae.cli import finishing
from pyro_mlvae.cli import training as train_module
from pyro_mlvae.cli.main import run
from pyro_mlvae.penalties import HSIC, WeightedKL
from pyro_mlvae.training import Checkpoint
from pyro_mlvae.training import checkpoint as checkpoint_module

pytestmark = pytest.mark.usefixtures("quick_evaluation")

KILLS = 4


OPTIMIZERS = {
    "adam": lambda: pyro.optim.Adam({"lr": 0.01}),
    "clipped, decaying": lambda: pyro.optim.ClippedAdam(
        {"lr": 0.01, "lrd": 0.99, "weight_decay": 0.1}
    ),
    "sgd, momentum": lambda: pyro.optim.SGD({"lr": 1e-4, "momentum": 0.9}),
    "scheduled": lambda: pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.01}, "gamma": 0.9}
    ),
}


def trained(checkpoint=None, optimizer="adam", **options):
    pair = make_pair()
    sampler = GroupSampler(small_data(), 2, 4, seed=3)
    options = {"epochs": 4, "validation": small_data().batch(), "validate_every": 2, **options}
    history = fit(
        *pair, sampler, optimizer=OPTIMIZERS[optimizer](), checkpoint=checkpoint, **options
    )
    return weights(*pair), history


def assert_same(first, second):
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("after", range(1, 9))
def test_a_run_stopped_after_any_step_ends_with_the_same_weights_and_history(after, tmp_path):
    whole, history = trained()
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(Stopping(path, after))
    again, resumed = trained(Checkpoint(path))
    assert_same(whole, again)
    timed = {"seconds": None}
    assert [row | timed for row in resumed.rows()] == [row | timed for row in history.rows()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_any_optimiser_is_kept(optimizer, tmp_path):
    whole, _ = trained(optimizer=optimizer)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(Stopping(path, 3), optimizer=optimizer)
    assert_same(whole, trained(Checkpoint(path), optimizer=optimizer)[0])


def test_a_warm_up_goes_on_where_it_was(tmp_path):
    penalties = [WeightedKL("style", beta=9.0, warmup_steps=7), HSIC(5.0)]
    whole, _ = trained(penalties=penalties)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(Stopping(path, 3), penalties=penalties)
    assert_same(whole, trained(Checkpoint(path), penalties=penalties)[0])


def test_stopped_again_and_again(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    for _ in range(7):
        with pytest.raises(Stopped):
            trained(Stopping(path, 1))
    assert_same(trained()[0], trained(Checkpoint(path))[0])


def test_a_finished_run_is_not_trained_again_but_goes_on_for_more_epochs(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    done, _ = trained(Checkpoint(path))
    written = path.read_bytes()
    seen = []
    again, history = trained(Checkpoint(path), callback=seen.append)
    assert_same(done, again)
    assert path.read_bytes() == written
    assert (
        [record.epoch for record in seen]
        == [record.epoch for record in history.epochs]
        == [1, 2, 3, 4]
    )
    assert_same(trained(Checkpoint(path), epochs=6)[0], trained(epochs=6)[0])


def test_the_callers_random_state_is_left_as_it_was(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        trained(Stopping(path, 3))
    pair = make_pair()
    before = torch.get_rng_state()
    fit(*pair, GroupSampler(small_data(), 2, 4), epochs=4, checkpoint=Checkpoint(path))
    assert torch.equal(torch.get_rng_state(), before)


def damaged(path, change):
    """The same file, its tensors and metadata changed."""
    with checkpoint_module.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors, metadata)
    save_file(tensors, path, metadata)


DAMAGE = {
    "no progress": lambda tensors, metadata: metadata.pop("progress"),
    "another version": lambda tensors, metadata: metadata.update(format_version="99"),
    "no json": lambda tensors, metadata: metadata.update(progress="{"),
    "odd json": lambda tensors, metadata: metadata.update(progress="[1, 2]"),
    "odd optimiser": lambda tensors, metadata: metadata.update(optimizer='{"model.x": {"no": 1}}'),
    "no weights": lambda tensors, metadata: tensors.pop("guide.encoder.layers.0.weight"),
    "other weights": lambda tensors, metadata: tensors.update(
        {"guide.encoder.layers.0.weight": torch.ones(2)}
    ),
    "no random state": lambda tensors, metadata: tensors.pop("rng"),
    "odd random state": lambda tensors, metadata: tensors.update(rng=torch.ones(3)),
    "no state": lambda tensors, metadata: [
        tensors.pop(k) for k in list(tensors) if k.startswith("optimizer/")
    ],
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused_in_one_sentence(change, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    trained(Checkpoint(path), epochs=1)
    damaged(path, change)
    with pytest.raises(
        InputError, match=r"is damaged, or of another run|has format_version '99'"
    ) as refused:
        trained(Checkpoint(path))
    assert "\n" not in str(refused.value)


def test_what_is_no_checkpoint_is_refused_and_no_pickle_runs(tmp_path):
    path, canary = tmp_path / "checkpoint.safetensors", tmp_path / "it-ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    torch.save({"x": Evil()}, path)
    for content in (path.read_bytes(), b"", b"\0" * 100, b"\xff" * 8 + b"{}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged, or of another run"):
            trained(Checkpoint(path))
    assert not canary.exists()


# The command line, killed for real. A fork has the library imported already, so the time is the
# run's own.


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Little data, so that a run, evaluation and figures included, takes seconds."""
    path = tmp_path_factory.mktemp("arrays") / "small.npz"
    generator = np.random.default_rng(0)
    np.savez(path, x=generator.random((160, 1, 8, 8), dtype=np.float32), group=np.arange(160) % 4)
    return path


def child(arguments, **limits):
    """Run the command line in a process of its own, with a checkpoint after every step."""
    process = os.fork()
    if not process:
        status = 70
        try:
            sys.stdout = io.StringIO()
            sys.stderr = limits.pop("stderr", io.StringIO())
            for what, limit in limits.items():
                resource.setrlimit(getattr(resource, what), (limit, limit))
            train_module.Checkpoint = functools.partial(Checkpoint, every=0.0)
            # Of what comes after training only that it writes is of interest here.
            finishing.evaluate = functools.partial(finishing.evaluate, ks=(1,))
            status = run(arguments)
            sys.stderr.flush()
        finally:
            os._exit(status)
    return process


def status_of(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def train_arguments(arrays, folder):
    small = [
        "--epochs",
        "12",
        "--hidden",
        "8",
        "--groups-per-batch",
        "2",
        "--observations-per-group",
        "4",
    ]
    return [
        "train",
        "--data",
        f"npz:{arrays}",
        *small,
        "--device",
        "cpu",
        "--no-vae",
        "--out",
        str(folder),
    ]


def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_happened(arrays, tmp_path):
    started = time.monotonic()
    assert status_of(child(train_arguments(arrays, tmp_path / "whole"))) == 0
    seconds = time.monotonic() - started
    folder = tmp_path / "killed"
    chance = random.Random(0)
    killed = 0
    while killed < KILLS:
        begun = (folder / runs.CONFIG).is_file()
        process = child(
            ["train", "--resume", str(folder)] if begun else train_arguments(arrays, folder)
        )
        time.sleep(chance.uniform(0.0, seconds))
        os.kill(process, signal.SIGKILL)
        status = status_of(process)
        # What had ended by itself before the kill had nothing to complain of.
        assert status in (-signal.SIGKILL, 0)
        killed += 1
    assert status_of(child(["train", "--resume", str(folder)])) == 0
    for name in (runs.WEIGHTS, "metrics.json"):
        first, second = ((tmp_path / which / name).read_bytes() for which in ("whole", "killed"))
        if name == "metrics.json":
            first, second = (json.loads(text) | {"seconds": None} for text in (first, second))
        assert first == second
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == {
        str(path.relative_to(tmp_path / "whole"))
        for path in (tmp_path / "whole").rglob("*")
        if path.is_file()
    }
    assert runs.load_run(folder).config == runs.load_run(tmp_path / "whole").config


def test_killed_a_run_goes_on_with_its_own_data_alone_wherever_that_is(
    arrays, tmp_path, monkeypatch
):
    def kill_in_the_middle(arguments):
        process = child(arguments)
        checkpoint = tmp_path / "killed" / runs.CHECKPOINT
        while not checkpoint.is_file():
            time.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        assert status_of(process) == -signal.SIGKILL

    def said(arguments):
        with (tmp_path / "said").open("w+") as file:
            status = status_of(child(arguments, stderr=file))
            file.seek(0)
            return status, file.read().splitlines()[-1]

    more = ["--epochs", "25"]  # so that the kill, at the first checkpoint, comes before the end
    (tmp_path / "here").mkdir()
    data = tmp_path / "here" / "small.npz"
    data.write_bytes(arrays.read_bytes())
    assert status_of(child([*train_arguments(data, tmp_path / "whole"), *more])) == 0
    monkeypatch.chdir(data.parent)
    kill_in_the_middle([*train_arguments("small.npz", tmp_path / "killed"), *more])
    resume = ["train", "--resume", str(tmp_path / "killed")]
    # Started in another folder, where another file has that name.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.npz").write_bytes(b"something else")
    kill_in_the_middle(resume)
    whole = dict(np.load(data))
    changes = {
        "it has 161 observations, not 160": {
            name: np.append(v, v[:1], 0) for name, v in whole.items()
        },
        "1 of '2' have other values": whole
        | {"x": whole["x"] + np.eye(160)[2][:, None, None, None]},
        "the group '9' is new, and the group '3' is gone": whole
        | {"group": np.where(whole["group"] == 3, 9, whole["group"])},
    }
    before = (tmp_path / "killed" / runs.CHECKPOINT).read_bytes()
    for sentence, arrays_now in changes.items():
        np.savez(data, **{name: v.astype(whole[name].dtype) for name, v in arrays_now.items()})
        status, last = said(resume)
        assert (status, sentence in last) == (2, True), last
    assert (tmp_path / "killed" / runs.CHECKPOINT).read_bytes() == before
    data.unlink()
    assert said(resume)[0] == 2
    # The very data, where it lies now.
    (tmp_path / "there").mkdir()
    np.savez(tmp_path / "there" / "renamed.npz", **whole)
    assert status_of(child([*resume, "--data", "npz:there/renamed.npz"])) == 0
    weights_of = [(tmp_path / which / runs.WEIGHTS).read_bytes() for which in ("whole", "killed")]
    assert weights_of[0] == weights_of[1]


def test_a_full_disk_leaves_the_last_checkpoint_and_one_sentence(arrays, tmp_path):
    folder = tmp_path / "run"
    assert status_of(child([*train_arguments(arrays, folder), "--epochs", "2"])) == 0
    before = (folder / runs.CHECKPOINT).read_bytes()
    with (tmp_path / "said").open("w+") as said:
        arguments = ["train", "--resume", str(folder), "--epochs", "9"]
        process = child(arguments, RLIMIT_FSIZE=len(before) - 1000, stderr=said)
        assert status_of(process) == 2
        said.seek(0)
        text = said.read()
    last = text.splitlines()[-1]
    assert last.startswith(
        f"pyro-mlvae: {folder / runs.CHECKPOINT} cannot be written (File too large)"
    )
    assert "Traceback" not in text
    assert (folder / runs.CHECKPOINT).read_bytes() == before
    assert not list(folder.glob(".*"))
    # With room again it goes on.
    assert status_of(child(arguments)) == 0


def refusal(arguments, capsys):
    assert run(arguments) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_what_cannot_be_resumed_is_refused_in_one_sentence(arrays, tmp_path, capsys):
    folder = tmp_path / "run"
    assert status_of(child([*train_arguments(arrays, folder), "--epochs", "1"])) == 0
    assert "config.json is missing" in refusal(["train", "--resume", str(tmp_path)], capsys)
    assert "got --hsic, --seed" in refusal(
        ["train", "--resume", str(folder), "--hsic", "2", "--seed", "4"], capsys
    )
    assert "got --overwrite" in refusal(["train", "--resume", str(folder), "--overwrite"], capsys)
    assert "name one folder" in refusal(["train"], capsys)
    assert "name one folder" in refusal(
        ["train", "--resume", str(folder), "--out", str(folder)], capsys
    )
    assert f"--resume {folder}" in refusal(train_arguments(arrays, folder), capsys)
    (folder / runs.WEIGHTS).unlink()
    assert f"finish it with train --resume {folder}" in refusal(["evaluate", str(folder)], capsys)
    assert "epochs must be a positive" in refusal(
        ["train", "--resume", str(folder), "--epochs", "0"], capsys
    )
