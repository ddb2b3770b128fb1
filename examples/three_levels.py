"""Does it help to know a character's alphabet? Three levels beside two.

Run: python examples/three_levels.py --data folder:PATH
     python examples/three_levels.py --data omniglot --data-root data --download

PATH holds a folder for each alphabet, which holds a folder for each character. Both models train on
the same minibatches, and their bounds on the evidence are compared on a fifth of the drawings of
every character. Writes characters.png: new characters of each alphabet.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pyro.optim import ClippedAdam
from tqdm import tqdm

from pyro_mlvae import (
    MLVAE,
    ConvDecoder,
    ConvEncoder,
    GroupedGuide,
    GroupSampler,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
    fit,
    load_dataset,
)
from pyro_mlvae.data import AffineJitter
from pyro_mlvae.evaluation import elbo_metrics
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.latents import decode
from pyro_mlvae.models import ThreeLevelMLVAE
from pyro_mlvae.plotting import look_of, save_figure
from pyro_mlvae.plotting.cells import cells, name_row, place
from pyro_mlvae.plotting.style import CONTENT as CONTENT_COLOUR

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--data", default="omniglot")
parser.add_argument("--data-root", default="data")
parser.add_argument("--download", action="store_true")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("characters.png"))
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()
CONTENT, STYLE, GROUPS, EACH = 16, 8, 48, 8

size = 16 if options.smoke else 28
reading = {"download": options.download, "image_size": size, "grayscale": True}
data = load_dataset(options.data, options.data_root, **reading)
# Ink becomes 1 on a ground of 0, which is also what comes in from outside a drawing that is moved.
data = replace(data, x=1.0 - data.observations(), ink=True)
train, test = data.split(0.3 if options.smoke else 0.2, seed=options.seed)
batches = -(-train.num_groups // GROUPS)
epochs = 2 if options.smoke else -(-options.steps // batches)


def trained(kind: str) -> tuple[MLVAE, GroupedGuide]:
    """The pair of that name after training, from the same weights and on the same minibatches."""
    torch.manual_seed(options.seed)
    networks = (data.event_shape, CONTENT, STYLE)
    decoder, encoder = ConvDecoder(*networks), ConvEncoder(*networks)
    style: Any = {"style_given_content": StyleGivenContent(CONTENT, STYLE)}
    likelihood = NormalLikelihood(0.2)
    model: MLVAE
    guide: GroupedGuide
    if kind == "three levels":
        model = ThreeLevelMLVAE(decoder, likelihood, CONTENT, STYLE)
        guide = ThreeLevelGuide(encoder, **style)
    else:
        model = MLVAE(decoder, likelihood, CONTENT, STYLE)
        guide = ProductOfNormals(encoder, prior_expert=kind == "two, with prior expert", **style)
    with tqdm(total=epochs, desc=kind, unit="epoch") as bar:
        fit(
            model,
            guide,
            AffineJitter(GroupSampler(train, GROUPS, EACH, seed=options.seed), seed=options.seed),
            epochs=epochs,
            optimizer=ClippedAdam({"lr": 2e-3, "lrd": 0.05 ** (1 / (epochs * batches))}),
            seed=options.seed,
            callback=lambda record: bar.update(),
        )
    return model, guide


print(f"{len(test)} held-out drawings of {test.num_groups} characters, nats per drawing:")
print(f"{'':24}{'ELBO':>10}{'bound':>10}{'KL above':>10}{'KL content':>12}{'KL style':>10}")
for kind in ("two levels", "two, with prior expert", "three levels"):
    model, guide = trained(kind)
    found = elbo_metrics(
        model, guide, test, num_particles=10, content_draws=20, style_draws=5, seed=options.seed
    )
    above = found.get("kl_super_content", 0.0)
    print(
        f"{kind:24}{found['per_observation']:10.2f}{found['nested_iwae_per_observation']:10.2f}"
        f"{above:10.2f}{found['kl_content']:12.2f}{found['kl_style']:10.2f}"
    )

assert isinstance(model, ThreeLevelMLVAE)
assert isinstance(guide, ThreeLevelGuide)
shared = 1.0 - model.within_scale.detach().square()
print("correlation of the contents of an alphabet, by dimension:")
print("  " + " ".join(f"{value:.2f}" for value in shared.sort(descending=True).values.tolist()))

# Of each alphabet, new characters: contents around its own, in one style, beside a real drawing.
names = [str(name) for name in data.parent_names]
with torch.no_grad():
    torch.manual_seed(options.seed)
    batch = train.batch()
    alphabets = guide.super_content_posterior(guide.encode(batch.x), batch.groups)
    new = alphabets.mean.unsqueeze(1) + model.within_scale * torch.randn(len(names), 12, CONTENT)
    drawn = decode(model, new, torch.zeros(STYLE))
assert data.parent is not None
real = torch.stack([(data.parent[data.group] == p).nonzero()[0, 0] for p in range(len(names))])
rows = torch.cat([data.observations(real).unsqueeze(1), drawn], 1)
look = look_of(data)
title = "New characters, beside a real one"
figure, axes = cells(len(names), rows.shape[1], title, look, left=2.4, top=0.2)
for row, name in enumerate(names):
    name_row(axes, row, name.replace("_", " "))
    for column, x in enumerate(rows[row]):
        place(axes, x, row, column, look, CONTENT_COLOUR if column == 0 else None)
save_figure(figure, options.out)
print(f"see {options.out}")
