"""What two processes find out together, for test_ranks.py, which starts them by torchrun.

Run: torchrun --nproc-per-node 2 tests/job_of_two.py FOLDER
"""

import gc
import json
import sys
from pathlib import Path

import pyro
import torch
import torch.distributed as dist
from exactly import KeepGradients
from pyro.infer import SVI
from pyro.poutine.messenger import Messenger

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    GroupSampler,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    fit,
    make_estimator,
)
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.latents import gather_evidence
from pyro_mlvae.models import ThreeLevelMLVAE
from pyro_mlvae.ops.evidence import Evidence
from pyro_mlvae.penalties import WeightedKL
from pyro_mlvae.training import Checkpoint, Objective
from pyro_mlvae.training.parts import InParts
from pyro_mlvae.training.ranks import Averaged, Ranks

# Ragged: 1 to 9 observations a group, 3 super-groups.
SIZES = torch.tensor([1, 9, 2, 5, 1, 3, 4])
PARENT = {0: "p", 1: "p", 2: "q", 3: "q", 4: "q", 5: "r", 6: "r"}


class NoiseOfX(Messenger):
    """Draws ``loc + scale * noise`` with noise that belongs to the group, or the observation.

    It is read off x, whose first value numbers the observation, and whose second numbers the group,
    so that the same noise is found however observations are dealt out.
    """

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def _pyro_sample(self, msg):
        if msg["name"] not in ("super_content", "content", "style"):
            return
        base = msg["fn"].base_dist
        x, group = self.batch.x, self.batch.group
        if msg["name"] == "style":
            number = x[:, 0]
        else:
            number = torch.empty(self.batch.num_groups, dtype=x.dtype).index_copy(0, group, x[:, 1])
            if msg["name"] == "super_content":
                number = torch.empty(self.batch.num_parents, dtype=x.dtype).index_copy(
                    0,
                    self.batch.parent,
                    x.new_tensor([ord(PARENT[round(n * 10)]) for n in number.tolist()]),
                )
        noise = torch.sin(
            37.0 * number[:, None] + torch.arange(base.loc.shape[-1]) + len(msg["name"])
        )
        msg["value"] = base.loc + base.scale * noise


def with_noise(guide):
    """The guide with the noise of x; it stays a module, so that its parameters are found."""
    plain = guide.forward

    def forward(batch):
        with NoiseOfX(batch):
            return plain(batch)

    guide.forward = forward
    return guide


def data(dtype):
    group = torch.arange(len(SIZES)).repeat_interleave(SIZES)
    x = torch.rand(len(group), 5, generator=torch.Generator().manual_seed(0))
    x[:, 0], x[:, 1] = torch.arange(len(group)) / 25, group / 10
    return GroupedDataset.from_arrays(x.to(dtype), group.tolist(), parent=PARENT)


def pair(three_levels, dtype):
    torch.manual_seed(1)
    model, guide = (ThreeLevelMLVAE, ThreeLevelGuide) if three_levels else (MLVAE, ProductOfNormals)
    return (
        model(MLPDecoder((5,), 2, 2, hidden=(7,)), NormalLikelihood(0.5), 2, 2).to(dtype),
        guide(MLPEncoder((5,), 2, 2, hidden=(7,))).to(dtype),
    )


def gradients(ranks, three_levels, dtype, estimator, penalties=(), at_once=None):
    """Of every minibatch of an epoch: three groups, three, and one; one process has none of it."""
    model, guide = pair(three_levels, dtype)
    found, optimizer = [], KeepGradients()
    with pyro.get_param_store().scope():
        guide = with_noise(guide)
        objective = Objective(make_estimator(estimator), penalties=penalties)
        if ranks.size > 1:
            objective = Averaged(objective, model, guide, ranks)
        if at_once is not None:
            objective = InParts(objective, at_once, super_groups=three_levels)
        svi = SVI(model, guide, optimizer, loss=objective)
        shares = ranks.shares(GroupSampler(data(dtype), 3, seed=3), 0, super_groups=three_levels)
        for share in shares:
            svi.step(*share)
            store = pyro.get_param_store()
            named = sorted((store.param_name(p), grad) for p, grad in optimizer.kept.items())
            found.append(torch.cat([grad.flatten().double() for _, grad in named]))
    return torch.stack(found)


def gradient_differences(two):
    """Between the gradients of the processes and of one on the union, relative to the largest."""
    cases = {
        "trace": ("trace", {}),
        "mean-field": ("mean-field", {}),
        "stl": ("stl", {}),
        "dreg": ("dreg", {}),
        "group-iwae": ("group-iwae", {}),
        "penalised": (
            "trace",
            {"penalties": [WeightedKL("content", 3.0), WeightedKL("style", 0.5)]},
        ),
        "in parts": ("trace", {"at_once": 1}),  # more of them on one process than on the other
    }
    found = {}
    for three_levels in (False, True):
        for dtype in (torch.float64, torch.float32):
            for name, (estimator, options) in cases.items():
                if dtype == torch.float32 and name != "trace":
                    continue
                together = gradients(two, three_levels, dtype, estimator, **options)
                alone = gradients(
                    Ranks(), three_levels, dtype, estimator, **{**options, "at_once": None}
                )
                key = f"{name}, {'three' if three_levels else 'two'} levels, {dtype}"
                found[key] = float((together - alone).abs().max() / alone.abs().max())
    return found


def train(folder, group, *, checkpoint=None, groups_per_batch=4, **options):
    model, guide = pair(False, torch.float32)
    history = fit(
        model,
        guide,
        GroupSampler(data(torch.float32), groups_per_batch),
        process_group=group,
        checkpoint=checkpoint and Checkpoint(folder / checkpoint, every=0.0),
        **options,
    )
    return history, torch.cat(
        [p.detach().flatten() for m in (model, guide) for p in m.parameters()]
    )


def stop_after(epoch):
    def callback(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return callback


def draws(group):
    """The first draws of style, for observations that are all the same."""
    model, guide = pair(False, torch.float32)
    drawn = []

    def keep(decoder, codes, _):
        if decoder.training:  # what fit looks at before the first step is no step
            drawn.append(codes[1].detach().clone())

    model.decoder.register_forward_hook(keep)
    data = GroupedDataset.from_arrays(torch.ones(8, 5), [0, 0, 0, 0, 1, 1, 1, 1])
    fit(model, guide, GroupSampler(data, 2), epochs=1, process_group=group)
    return drawn[0]


def said(call):
    try:
        call()
    except InputError as error:
        return str(error)
    return None


def same_everywhere(tensor):
    first = tensor.clone()
    dist.broadcast(first, 0)
    same = torch.tensor([float(torch.equal(first, tensor))])
    dist.all_reduce(same, op=dist.ReduceOp.MIN)
    return bool(same)


def main():
    folder = Path(sys.argv[1])
    dist.init_process_group("gloo")
    world = dist.group.WORLD
    two = Ranks(world)
    found = {"gradients": gradient_differences(two)}
    shares = list(two.shares(GroupSampler(data(torch.float32), 3, seed=0), 0))
    every = [None, None]
    dist.all_gather_object(
        every, [(batch.x[:, 0].tolist(), batch.num_groups, weight) for batch, weight in shares]
    )
    found["shares"] = every

    history, weights = train(folder, world, epochs=6, groups_per_batch=3)
    found["weights are the same"] = same_everywhere(weights)
    found["observations"] = history.epochs[-1].terms.observations
    found["groups"] = history.epochs[-1].terms.groups
    records = [None, None]
    dist.all_gather_object(records, [record.row() | {"seconds": 0} for record in history.epochs])
    found["histories are the same"] = records[0] == records[1]
    # A checkpoint is written after 50 steps, in the middle of epoch 17; the run is stopped after
    # epoch 19.
    long = {"epochs": 25, "groups_per_batch": 3}
    train(folder, world, **long, checkpoint="checkpoint.safetensors", callback=stop_after(19))
    resumed, ours = train(folder, world, **long, checkpoint="checkpoint.safetensors")
    straight, theirs = train(folder, world, **long)
    found["draws are the same"] = same_everywhere(draws(world))
    found["resumed is the same"] = same_everywhere(ours) and torch.equal(ours, theirs)
    found["resumed history"] = [
        [round(r.objective, 9) for r in history.epochs] for history in (resumed, straight)
    ]
    patient = {
        "steps": 300,
        "patience": 5,
        "validation": data(torch.float32).batch(),
        "groups_per_batch": 3,
    }
    patient |= {"optimizer": pyro.optim.Adam({"lr": 0.02})}
    train(folder, world, **patient, checkpoint="patient.safetensors", callback=stop_after(18))
    patient |= {"optimizer": pyro.optim.Adam({"lr": 0.02})}
    resumed, ours = train(folder, world, **patient, checkpoint="patient.safetensors")
    patient |= {"optimizer": pyro.optim.Adam({"lr": 0.02})}
    straight, theirs = train(folder, world, **patient)
    ends = [None, None]
    dist.all_gather_object(ends, (straight.ended, straight.best_steps, len(straight.epochs)))
    found["patience"] = {
        "weights are the same": same_everywhere(theirs) and torch.equal(ours, theirs),
        "ends": [*ends, (resumed.ended, resumed.best_steps, len(resumed.epochs))],
    }
    found["too few groups"] = said(lambda: train(folder, world, epochs=1, groups_per_batch=1))
    found["graph"] = said(lambda: train(folder, world, epochs=1, estimator=make_estimator("graph")))

    _, guide = pair(False, torch.float64)
    whole = data(torch.float64)
    own = torch.arange(len(whole)) % 2 == two.rank
    evidence = gather_evidence(
        guide, whole.observations()[own], whole.group[own], len(SIZES)
    ).all_reduce()
    alone: Evidence = gather_evidence(guide, whole)
    found["evidence"] = max(
        float((evidence.precision - alone.precision).abs().max()),
        float((evidence.precision_loc - alone.precision_loc).abs().max()),
        float((evidence.count - alone.count).abs().max()),
    )
    if two.rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    gc.collect()  # the steps that were made by hand, which hold on to the process group
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
