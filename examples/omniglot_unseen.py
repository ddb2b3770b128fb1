"""Train on some alphabets; then tell the characters of one that was never seen apart, from one drawing.

Run: python examples/omniglot_unseen.py --data omniglot --data-root data [--download] --hold-out Korean
     python examples/omniglot_unseen.py --data folder:PATH --hold-out ALPHABET

PATH holds a folder an alphabet, which holds a folder a character. Writes swap.png: characters of the
held-out alphabet, each in the style of other drawings.
"""

import argparse
from pathlib import Path

from pyro.optim import Adam  # type: ignore[attr-defined]

from pyro_mlvae import fit, load_dataset
from pyro_mlvae.config import RunConfig
from pyro_mlvae.evaluation import unseen_metrics
from pyro_mlvae.plotting import save_figure, swap_figure

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", default="omniglot")
parser.add_argument("--data-root", default="data")
parser.add_argument("--download", action="store_true")
parser.add_argument("--hold-out", default="Korean")
parser.add_argument("--epochs", type=int, default=600)
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()

size = 28 if options.data.startswith("folder:") else None
data = load_dataset(options.data, options.data_root, download=options.download, image_size=size)
train, test = data.split_groups([options.hold_out])
characters = int((test.sizes > 0).sum())
print(
    f"{len(train):,} drawings to train on; {len(test):,} of {characters} characters of {options.hold_out}"
)

config = RunConfig(
    likelihood="bernoulli",
    content_dim=32,
    style_dim=16,
    groups_per_batch=24,
    observations_per_group=8,
    sampler="groups",
    epochs=1 if options.smoke else options.epochs,
)
model, guide = config.build(data.event_shape)
fit(
    model,
    guide,
    config.make_sampler(train),
    epochs=config.epochs,
    optimizer=Adam({"lr": 1e-3}),
    callback=lambda record: print(
        f"\repoch {record.epoch}: {record.objective:.0f} nats a character", end=""
    ),
)

metrics = unseen_metrics(guide, config.build(data.event_shape)[1], test)
if metrics is not None:
    for name in ("shots", "untrained", "pixels"):
        found = {k: score and round(score["accuracy"], 3) for k, score in metrics[name].items()}
        print(f"\n{metrics['ways']}-way accuracy by number of shots, {name}: {found}", end="")
    print()
save_figure(swap_figure(model, guide, test), Path("swap.png"))
