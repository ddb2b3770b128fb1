"""Runs that are interrupted, killed, or run out of disk end as if nothing had happened."""

import functools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time

import numpy as np
import pyro
import pytest
import torch
from fitting import Stopped, Stopping, make_pair, small_data, weights
from quick import quickly, write_arrays
from safetensors.torch import load_file, save_file
from test_report import full_metrics

from pyro_mlvae import GroupSampler, InputError, fit, runs
from pyro_mlvae.cli import finishing
from pyro_mlvae.cli import training as train_module
from pyro_mlvae.cli.main import run
from pyro_mlvae.penalties import HSIC, WeightedKL
from pyro_mlvae.training import Checkpoint, capture
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
    measured = {"validation": small_data(0.5).batch(), "training_part": small_data().batch()}
    options = {"epochs": 4, "validate_every": 2, **measured, **options}
    history = fit(
        *pair, sampler, optimizer=OPTIMIZERS[optimizer](), checkpoint=checkpoint, **options
    )
    return weights(*pair), history


def assert_same(first, second):
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def assert_goes_on(path, after, **options):
    """A run that is stopped after so many steps, and goes on, ends as one that never stopped."""
    whole, history = trained(**options)
    with pytest.raises(Stopped):
        trained(Stopping(path, after), **options)
    again, resumed = trained(Checkpoint(path), **options)
    assert_same(whole, again)
    timed = {"seconds": None}
    assert [row | timed for row in resumed.rows()] == [row | timed for row in history.rows()]


@pytest.mark.parametrize("after", range(1, 9))
def test_a_run_stopped_after_any_step_ends_with_the_same_weights_and_history(after, path):
    assert_goes_on(path, after)


@pytest.mark.parametrize("after", [3, 6])
def test_so_does_one_whose_steps_are_recorded(after, path, monkeypatch):
    monkeypatch.setattr(capture, "_SEEN_BEFORE", 1)
    assert_goes_on(path, after)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_state_of_any_optimiser_is_kept(optimizer, path):
    assert_goes_on(path, 3, optimizer=optimizer)


def test_a_warm_up_goes_on_where_it_was(path):
    assert_goes_on(path, 3, penalties=[WeightedKL("style", beta=9.0, warmup_steps=7), HSIC(5.0)])


def test_stopped_again_and_again(path):
    for _ in range(7):
        with pytest.raises(Stopped):
            trained(Stopping(path, 1))
    assert_same(trained()[0], trained(Checkpoint(path))[0])


def test_a_finished_run_is_not_trained_again_but_goes_on_for_more_epochs(path):
    done, _ = trained(Checkpoint(path))
    written = path.read_bytes()
    seen = []
    again, history = trained(Checkpoint(path), callback=seen.append)
    assert_same(done, again)
    assert path.read_bytes() == written
    epochs = [[record.epoch for record in records] for records in (seen, history.epochs)]
    assert epochs == [[1, 2, 3, 4]] * 2
    assert_same(trained(Checkpoint(path), epochs=6)[0], trained(epochs=6)[0])


def test_the_callers_random_state_is_left_as_it_was(path):
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
def test_a_damaged_checkpoint_is_refused_in_one_sentence(change, path):
    trained(Checkpoint(path), epochs=1)
    damaged(path, change)
    with pytest.raises(
        InputError, match=r"is damaged, or of another run|has format_version '99'"
    ) as refused:
        trained(Checkpoint(path))
    assert "\n" not in str(refused.value)


def test_what_is_no_checkpoint_is_refused_and_no_pickle_runs(path, tmp_path):
    canary = tmp_path / "it-ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    torch.save({"x": Evil()}, path)
    for content in (path.read_bytes(), b"", b"\0" * 100, b"\xff" * 8 + b"{}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged, or of another run"):
            trained(Checkpoint(path))
    assert not canary.exists()


# The command line, killed for real. A server forks the processes: it has imported the library
# already, and has no threads that a test of this process may have started.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pyro_mlvae.cli.training", "pytest", "torch._dynamo"])


class Killing(Stopping):
    def end(self):
        os.kill(os.getpid(), signal.SIGKILL)


def command(arguments, kill_after=-1):
    """Run the command line; of what comes after training only that it writes is of interest."""
    with pytest.MonkeyPatch.context() as patch, quickly():
        patch.setattr(train_module, "Checkpoint", functools.partial(Killing, after=kill_after))
        patch.setattr(finishing, "evaluate", lambda *_, **__: full_metrics())
        return run(arguments)


def command_of_child(arguments, kill_after, said, limits):
    with open(said, "w") as sys.stderr, open(os.devnull, "w") as sys.stdout:  # noqa: PTH123
        for what, limit in limits.items():
            resource.setrlimit(getattr(resource, what), (limit, limit))
        sys.exit(command(arguments, kill_after))


def child(arguments, kill_after=-1, said=os.devnull, **limits):
    """Run the command line in a process of its own, which writes its stderr to ``said``."""
    process = SERVER.Process(target=command_of_child, args=(arguments, kill_after, said, limits))
    process.start()
    return process


def status_of(process):
    process.join()
    return process.exitcode


def train_arguments(arrays, folder, epochs=12):  # of two steps
    small = "--hidden 8 --sampler groups --groups-per-batch 2 --device cpu --no-vae --epochs"
    return ["train", "--data", f"npz:{arrays}", "--out", str(folder), *small.split(), str(epochs)]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arrays")
    write_arrays(folder / "small.npz", 160)
    assert status_of(child(train_arguments(folder / "small.npz", folder / "run", 1))) == 0
    return folder / "small.npz"


def assert_same_weights(tmp_path):
    whole, killed = ((tmp_path / run / runs.WEIGHTS).read_bytes() for run in ("whole", "killed"))
    assert whole == killed


def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_happened(arrays, tmp_path):
    started = time.monotonic()
    assert status_of(child(train_arguments(arrays, tmp_path / "whole"))) == 0
    seconds = time.monotonic() - started
    folder = tmp_path / "killed"
    resume = ["train", "--resume", str(folder)]
    chance = random.Random(0)
    for _ in range(KILLS):
        begun = (folder / runs.CONFIG).is_file()
        process = child(resume if begun else train_arguments(arrays, folder))
        time.sleep(chance.uniform(0.0, seconds))
        process.kill()
        # What had ended by itself before the kill had nothing to complain of.
        assert status_of(process) in (-signal.SIGKILL, 0)
    assert status_of(child(resume)) == 0
    assert_same_weights(tmp_path)
    whole, left = (
        {path.relative_to(run) for path in run.rglob("*") if path.is_file()}
        for run in (tmp_path / "whole", folder)
    )
    assert left == whole
    assert runs.load_run(folder).config == runs.load_run(tmp_path / "whole").config


def test_killed_a_run_goes_on_with_its_own_data_alone_wherever_that_is(
    arrays, tmp_path, monkeypatch
):
    checkpoint = tmp_path / "killed" / runs.CHECKPOINT

    def said(arguments):
        status = status_of(child(arguments, said=tmp_path / "said"))
        return status, (tmp_path / "said").read_text().splitlines()[-1]

    (tmp_path / "here").mkdir()
    data = tmp_path / "here" / "small.npz"
    data.write_bytes(arrays.read_bytes())
    assert status_of(child(train_arguments(data, tmp_path / "whole"))) == 0
    monkeypatch.chdir(data.parent)
    begin = train_arguments("small.npz", tmp_path / "killed")
    assert status_of(child(begin, kill_after=3)) == -signal.SIGKILL
    resume = ["train", "--resume", str(tmp_path / "killed")]
    # Started in another folder, where another file has that name.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.npz").write_bytes(b"something else")
    assert status_of(child(resume, kill_after=4)) == -signal.SIGKILL
    whole = dict(np.load(data))
    x, group = whole["x"], whole["group"]
    changes = {
        "it has 161 observations, not 160": {k: np.append(v, v[:1], 0) for k, v in whole.items()},
        "1 of '2' have other values": {"x": x + np.eye(160, dtype=x.dtype)[2][:, None, None, None]},
        "the group '9' is new, and the group '3' is gone": {
            "group": np.where(group == 3, 9, group)
        },
    }
    before = checkpoint.read_bytes()
    for sentence, changed in changes.items():
        np.savez(data, **whole | changed)
        status, last = said(resume)
        assert (status, sentence in last) == (2, True), last
    assert checkpoint.read_bytes() == before
    data.unlink()
    assert said(resume)[0] == 2
    # The very data, where it lies now.
    (tmp_path / "there").mkdir()
    np.savez(tmp_path / "there" / "renamed.npz", **whole)
    assert status_of(child([*resume, "--data", "npz:there/renamed.npz"])) == 0
    assert_same_weights(tmp_path)


def test_a_full_disk_leaves_the_last_checkpoint_and_one_sentence(arrays, tmp_path):
    folder = tmp_path / "run"
    assert status_of(child(train_arguments(arrays, folder, 2))) == 0
    before = (folder / runs.CHECKPOINT).read_bytes()
    arguments = ["train", "--resume", str(folder), "--epochs", "9"]
    limited = child(arguments, said=tmp_path / "said", RLIMIT_FSIZE=len(before) - 1000)
    assert status_of(limited) == 2
    text = (tmp_path / "said").read_text()
    full = f"pyro-mlvae: {folder / runs.CHECKPOINT} cannot be written (File too large)"
    assert text.splitlines()[-1].startswith(full)
    assert "Traceback" not in text
    assert (folder / runs.CHECKPOINT).read_bytes() == before
    assert not list(folder.glob(".*"))
    # With room again it goes on.
    assert status_of(child(arguments)) == 0


def test_what_cannot_be_resumed_is_refused_in_one_sentence(arrays, tmp_path, refusal):
    folder = tmp_path / "run"
    shutil.copytree(arrays.parent / "run", folder)
    resume = ("train", "--resume", folder)
    assert "config.json is missing" in refusal("train", "--resume", tmp_path)
    assert "got --hsic, --seed" in refusal(*resume, "--hsic", "2", "--seed", "4")
    assert "got --overwrite" in refusal(*resume, "--overwrite")
    assert "name one folder" in refusal("train")
    assert "name one folder" in refusal(*resume, "--out", folder)
    assert f"--resume {folder}" in refusal(*train_arguments(arrays, folder))
    (folder / runs.WEIGHTS).unlink()
    assert f"finish it with train --resume {folder}" in refusal("evaluate", folder)
    assert "epochs must be a positive" in refusal(*resume, "--epochs", "0")
