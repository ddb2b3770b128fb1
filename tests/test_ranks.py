"""Several processes that train together: two of them, under gloo, started as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from pyro_mlvae import GroupedBatch, GroupedDataset, GroupSampler, runs
from pyro_mlvae.cli.main import run
from pyro_mlvae.data.samplers import ReadAhead
from pyro_mlvae.training.parts import in_parts
from pyro_mlvae.training.ranks import Ranks
from pyro_mlvae.training.surroundings import on_place

JOB = Path(__file__).parent / "job_of_two.py"
COMMAND = Path(__file__).parent / "quick.py"
TRAIN = (COMMAND, "train", "--data", "digits", "--network", "mlp", "--hidden", "16", "--no-vae")


def torchrun(*arguments, **options):
    """A job of two processes, with what it writes to stdout and stderr."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A warning here is none of the job's: of two processes on a few cores.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **options,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the two processes have found, see job_of_two.py."""
    folder = tmp_path_factory.mktemp("job")
    job = torchrun(JOB, folder)
    _, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    return json.loads((folder / "found.json").read_text())


def test_the_gradient_of_two_is_that_of_one_on_the_union_of_their_groups(found):
    differences = found["gradients"]
    assert len(differences) == 16
    for case, difference in differences.items():
        assert difference < (1e-12 if "float64" in case else 1e-5), case


def test_minibatches_are_shared_out_whole_and_evenly(found):
    first, second = found["shares"]
    assert len(first) == len(second) == 3
    group = torch.arange(7).repeat_interleave(torch.tensor([1, 9, 2, 5, 1, 3, 4]))
    seen = []
    for own, others in zip(first, second, strict=True):
        groups = [
            {int(group[round(x * 25)]) for x in observations}
            for observations, _, _ in (own, others)
        ]
        if own[2] and others[2]:
            assert not groups[0] & groups[1]
            assert abs(len(groups[0]) - len(groups[1])) <= 1
            # Averaged over two processes, the weights of the minibatch's groups are those of its
            # mean.
            total = len(groups[0] | groups[1])
            for observations_groups_weight in (own, others):
                _, count, weight = observations_groups_weight
                assert weight == pytest.approx(2 * count / total)
        else:
            # One group for two processes: it counts once.
            assert groups[0] == groups[1]
            assert sorted([own[2], others[2]]) == [0, 2]
        seen += own[0] * bool(own[2]) + others[0] * bool(others[2])
    assert sorted(round(x * 25) for x in seen) == list(range(25))


def test_two_processes_end_with_the_same_weights_and_history(found):
    assert found["weights are the same"]
    assert found["histories are the same"]
    assert (found["observations"], found["groups"]) == (25, 7)


def test_each_process_draws_for_itself(found):
    assert not found["draws are the same"]


def test_a_job_goes_on_from_its_checkpoint(found):
    assert found["resumed is the same"]
    resumed, straight = found["resumed history"]
    assert len(resumed) == 25
    assert resumed == pytest.approx(straight, abs=1e-7)


def test_two_processes_agree_on_the_best_weights_and_on_when_to_end(found):
    first, second, resumed = found["patience"]["ends"]
    assert first == second == resumed
    ended, best_steps, epochs = first
    assert ended == "patience"
    # Three steps an epoch, and a checkpoint after 50.
    assert 50 < best_steps == 3 * (epochs - 5)
    assert found["patience"]["weights are the same"]


def test_evidence_of_two_is_that_of_all(found):
    assert found["evidence"] < 1e-12


def test_more_processes_than_groups_are_refused(found):
    assert found["too few groups"].startswith(
        "a minibatch has 1 group(s), fewer than the 2 processes"
    )
    assert found["graph"].startswith(
        "several processes need an estimator with a differentiable_loss"
    )


def test_when_one_process_is_killed_the_other_ends_with_a_message_and_two_others_go_on(tmp_path):
    folder = tmp_path / "run"
    job = torchrun(*TRAIN, "--epochs", 100_000, "--out", folder)
    try:
        while not (folder / runs.CHECKPOINT).exists():
            assert job.poll() is None
            time.sleep(0.1)
        os.kill(second_of(job.pid), signal.SIGKILL)
        _, errors = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode != 0
    assert "pyro-mlvae: another process of the job has ended" in errors
    assert "--resume" in errors
    with safe_open(folder / runs.CHECKPOINT, framework="pt") as checkpoint:
        epochs = json.loads(checkpoint.metadata()["progress"])["epoch"] + 2
    resumed = torchrun(COMMAND, "train", "--resume", folder, "--epochs", epochs)
    output, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    assert "nats" in output
    assert output.count("look at") == 1
    assert len((folder / runs.HISTORY).read_text().splitlines()) == 1 + epochs
    assert runs.load_run(folder).config.epochs == epochs


def second_of(torchrun_pid):
    """The process of rank 1."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == torchrun_pid and b"\0RANK=1\0" in (process / "environ").read_bytes():
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("there is no second process")


def test_other_commands_are_not_for_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(["datasets"]) == 0  # somebody else's variable
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert run(["datasets"]) == 2
    said = "pyro-mlvae: torchrun is for train alone: run this command by itself"
    assert capsys.readouterr().err.splitlines()[-1] == said


def batch_of(sizes, parent=None):
    sizes = torch.tensor(sizes)
    group = torch.arange(len(sizes)).repeat_interleave(sizes)
    x = torch.arange(float(len(group)))[:, None]
    if parent is None:
        return GroupedBatch(x, group, len(sizes))
    return GroupedBatch(x, group, len(sizes), torch.tensor(parent), max(parent) + 1)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(9, [9]), (5, [5, 4]), (4, [1, 4, 4]), (1, [1, 4, 1, 3])],
)
def test_parts_are_whole_groups_that_fit_unless_one_alone_does_not(most, expected):
    batch = batch_of([1, 4, 1, 3])
    parts = in_parts(batch, most)
    assert [len(part) for part in parts] == expected
    assert torch.cat([part.x for part in parts]).equal(batch.x)
    assert sum(part.num_groups for part in parts) == 4


def test_parts_keep_super_groups_together():
    parts = in_parts(batch_of([1, 1, 1, 1], parent=[0, 1, 0, 1]), 2, super_groups=True)
    assert [part.x.flatten().tolist() for part in parts] == [[0.0, 2.0], [1.0, 3.0]]
    assert [part.num_parents for part in parts] == [1, 1]


def test_alone_a_share_is_the_whole_minibatch():
    data = GroupedDataset.from_arrays(torch.rand(6, 2), [0, 0, 1, 1, 2, 2])
    sampler = GroupSampler(data, 2)
    for (own,), batch in zip(Ranks().shares(ReadAhead(sampler), 0), sampler.epoch(0), strict=True):
        assert torch.equal(own.x, batch.x)


def test_observations_at_once_must_be_positive(capsys):
    assert run(["train", "--out", "run", "--observations-at-once", "0"]) == 2
    assert "observations_at_once must be a positive" in capsys.readouterr().err.splitlines()[-1]


def test_batches_are_pinned_on_their_way_to_a_gpu_and_left_alone_where_they_are(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append(self) or self)
    monkeypatch.setattr(GroupedBatch, "to", lambda self, device, dtype: self)
    batch = batch_of([1, 2], parent=[0, 0])
    assert on_place(batch, torch.device("cpu"), torch.float32) is batch
    assert calls == []
    sent = on_place(batch, torch.device("cuda"), torch.float32)
    assert len(calls) == 4
    assert sent.x is batch.x
    assert sent.num_parents == 1
