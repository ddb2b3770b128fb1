"""Learn what a person's pictures share, and draw one person in the style of another's picture.

Run: python examples/faces.py --data folder:PATH   pictures, in one folder a person
     python examples/faces.py --data celeba --data-root data [--download]
     python examples/faces.py --data lfw --data-root data

A fifth of the people are held out, so all numbers and pictures are of people whom training never
saw. Writes swap.png.
"""

import argparse
from pathlib import Path

from pyro_mlvae import fit, load_dataset
from pyro_mlvae.evaluation import unseen_metrics
from pyro_mlvae.plotting import save_figure, swap_figure
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--data", default="celeba")
parser.add_argument("--data-root", default="data")
parser.add_argument("--download", action="store_true")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()

# Pictures of any size become 64x64; named data sets bring a size of their own.
size = 64 if options.data.startswith("folder:") else None
data = load_dataset(options.data, options.data_root, download=options.download, image_size=size)
train, test = data.split_groups(0.2, seed=0)
print(
    f"{len(train):,} pictures to train on, "
    f"{len(test):,} of {(test.sizes > 0).sum():,} unseen people"
)

# Convolutional networks, chosen by the shape of the data; a person takes part with up to 8
# pictures.
config = RunConfig(
    content_dim=64,
    style_dim=32,
    groups_per_batch=32,
    observations_per_group=8,
    sampler="groups",
    epochs=1 if options.smoke else options.epochs,
)
model, guide = config.build(data.event_shape)
fit(
    model,
    guide,
    make_sampler(config, train),
    epochs=config.epochs,
    clip_norm=100.0,
    callback=lambda record: print(f"epoch {record.epoch}: {record.objective:.1f} nats per person"),
)

metrics = unseen_metrics(guide, config.build(data.event_shape)[1], test, shots=(1,))
if metrics is not None:
    print(f"verification of unseen people, ROC AUC: {metrics['verification_auc']:.3f}")
save_figure(swap_figure(model, guide, test), Path("swap.png"))
