"""Train on some alphabets; then tell the characters of an unseen one apart, from one drawing each.

Run: python examples/omniglot_unseen.py --data folder:PATH --hold-out Korean
     python examples/omniglot_unseen.py --data omniglot --download --hold-out Korean

PATH holds a folder for each alphabet, which holds a folder for each character. --hold-out takes
several alphabets, or none. Writes swap.png: characters of the held-out alphabets, each in the style
of other drawings. With --one-shot-runs FOLDER, which holds run01 to run20 of Omniglot's official
one-shot test, prints the error on that test beside its controls.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch
from pyro.optim import ClippedAdam

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    GroupSampler,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
    fit,
    load_dataset,
)
from pyro_mlvae.data import AffineJitter, load_one_shot
from pyro_mlvae.evaluation import one_shot_metrics, unseen_metrics
from pyro_mlvae.networks import PosedDecoder, PosedEncoder
from pyro_mlvae.plotting import save_figure, swap_figure

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--data", default="omniglot")
parser.add_argument("--data-root", default="data")
parser.add_argument("--download", action="store_true")
parser.add_argument("--hold-out", nargs="*", default=["Korean"], metavar="ALPHABET")
parser.add_argument(
    "--one-shot-runs", metavar="FOLDER", help="the official one-shot test, unpacked"
)
parser.add_argument("--steps", type=int, default=4000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()

# Before training, so that a wrong folder is refused at once; ink is as bright as in training,
# below.
trials = options.one_shot_runs and load_one_shot(options.one_shot_runs, 28, invert=True)
size = 28 if options.data.startswith("folder:") else None
data = load_dataset(options.data, options.data_root, download=options.download, image_size=size)
train, test = data.split_groups(options.hold_out) if options.hold_out else (data, None)

# A character turned by a quarter is another character: four times as many groups to learn from. Ink
# becomes 1 on a ground of 0, which is also what comes in from outside a drawing that is moved.
ink = 1.0 - train.observations()
turned = torch.cat([torch.rot90(ink, quarter, (2, 3)) for quarter in range(4)])
names = [(quarter, int(group)) for quarter in range(4) for group in train.group]
train = GroupedDataset.from_arrays(turned, names)
print(f"{train.num_groups} characters to train on")
if test is not None:
    test = replace(test, x=1.0 - test.observations(), ink=True)

shape, content_dim, style_dim, channels = data.event_shape, 32, 16, (16, 32, 64)


def build() -> tuple[MLVAE, ProductOfNormals]:
    """The pair: content is of a random part of its group, and style knows content and the pose.

    So content must say what the other drawings need, and need not say how they are turned.
    """
    torch.manual_seed(options.seed)
    decoder = PosedDecoder(shape, content_dim, style_dim, channels=channels)
    guide = ProductOfNormals(
        PosedEncoder(shape, content_dim, style_dim, channels=channels),
        prior_expert=True,
        style_given_content=StyleGivenContent(content_dim, style_dim),
        evidence="random-part",
    )
    return MLVAE(decoder, NormalLikelihood(scale=0.2), content_dim, style_dim), guide


model, guide = build()
sampler = GroupSampler(train, groups_per_batch=12, observations_per_group=14, seed=options.seed)
epochs = math.ceil((20 if options.smoke else options.steps) / math.ceil(train.num_groups / 12))
decay = 0.05 ** (12 / (epochs * train.num_groups))  # to a twentieth, by the end
fit(
    model,
    guide,
    AffineJitter(sampler, seed=options.seed),
    epochs=epochs,
    optimizer=ClippedAdam({"lr": 2e-3, "lrd": decay}),
    seed=options.seed,
    callback=lambda record: print(
        f"\repoch {record.epoch}/{epochs}: {record.objective:.0f}", end=" "
    ),
)

metrics = unseen_metrics(guide, build()[1], test, episodes=2000) if test is not None else None
if metrics is not None:
    print("\naccuracy on unseen characters, of an untrained guide, and of the nearest pixels:")
    for name, row in metrics["protocols"].items():
        untrained, pixels = row["untrained"]["accuracy"], row["pixels"]["accuracy"]
        print(f"  {name}: {row['accuracy']:.3f} ({untrained:.3f}, {pixels:.3f})")
if trials:
    found = one_shot_metrics(guide, trials)
    print(f"error in {found['trials']} trials of the one-shot test, chance {found['chance']:.3f}:")
    for name in ("posterior", "pixels", "hausdorff"):
        print(f"  {name}: {found[name]['error']:.4f} +- {found[name]['standard_error']:.4f}")
if test is not None:
    save_figure(swap_figure(model, guide, test), Path("swap.png"))
