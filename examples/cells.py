"""Tell donors from cell states in a table of counts, one row a cell.

Run: python examples/cells.py

The table is generated, so the truth is known. The genes of a cell follow its donor's effect
(content) and its own state (style), which does not depend on the donor; how many counts it has is
chance. All numbers are of donors that training never saw. Writes cells.png.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score

from pyro_mlvae import GroupedDataset, fit
from pyro_mlvae.data.splits import Split
from pyro_mlvae.evaluation import elbo_metrics
from pyro_mlvae.evaluation.probe import Probe, style_codes
from pyro_mlvae.latents import embed, encode
from pyro_mlvae.plotting import save_figure
from pyro_mlvae.plotting.style import COLOURS, CONTROL, new_figure, tidy
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler
from pyro_mlvae.training import fused_adam

GENES, EFFECTS, STATES = 40, 3, 2

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()
donors, steps = (12, 5) if options.smoke else (60, options.steps)

# The truth: each donor's effect, each cell's state and number of counts, and what they do to the
# genes.
generator = np.random.default_rng(options.seed)
donor = np.repeat(np.arange(donors), generator.integers(40, 121, donors))
effect, state = (
    generator.normal(size=(donors, EFFECTS)),
    generator.normal(size=(len(donor), STATES)),
)
log_share = generator.normal(size=GENES) + 0.5 * effect[donor] @ generator.normal(
    size=(EFFECTS, GENES)
)
log_share += 0.5 * state @ generator.normal(size=(STATES, GENES))
share = np.exp(log_share) / np.exp(log_share).sum(1, keepdims=True)
total = generator.lognormal(np.log(500.0), 0.5, (len(donor), 1))
dispersion = generator.lognormal(1.5, 0.5, GENES)
# A negative binomial is a Poisson whose rate is a Gamma's.
counts = generator.poisson(
    total * share * generator.gamma(dispersion, 1.0 / dispersion, share.shape)
)
table = pd.DataFrame(counts, columns=[f"gene{i}" for i in range(GENES)])
table["donor"] = [f"donor{i:02}" for i in donor]

# From here on it might be a table of your own.
data = GroupedDataset.from_dataframe(table, group="donor")
train, test = data.split_groups(0.25, seed=options.seed)
config = RunConfig(
    likelihood="counts",
    library_size=True,  # means are shares of a cell's own total
    content_dim=EFFECTS,
    style_dim=STATES,
    hidden=(64,),
    sampler="groups",
    steps=steps,
    learning_rate=3e-3,
    seed=options.seed,
)
pairs = {}
for name, own in {"Multi-Level VAE": config, "plain VAE": config.plain_vae()}.items():
    pairs[name] = own.build(data.event_shape, own.scaling(train))
    sampler, optimizer = make_sampler(own, train), fused_adam(own.learning_rate)
    fit(*pairs[name], sampler, steps=steps, optimizer=optimizer, seed=options.seed)


def donor_read_off(code: torch.Tensor) -> float:
    """How often a classifier trained on half of the cells' codes tells the others' donors."""
    half = Split.by_observations(test, 0.5, options.seed)
    probe = Probe.train(code[half.train], test.group[half.train], seed=options.seed)
    return probe.scores(code[half.test], test.group[half.test])["accuracy"]


def told(codes: np.ndarray, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The truth of what is not known, by a linear map of codes that is fitted to what is."""
    linear = RidgeCV(np.logspace(-3.0, 3.0, 13)).fit(codes[known], truth[known])
    return np.asarray(linear.predict(codes[~known]))


seen = np.isin(np.arange(donors), train.group)
unseen_cell = ~seen[donor]
codes = embed(pairs["Multi-Level VAE"][1], data)
log_counts = np.log1p(table.drop(columns="donor")).groupby(table["donor"]).mean().to_numpy()
by_content = told(codes["group_content_loc"], effect, seen)
by_style = told(codes["style_loc"], state, ~unseen_cell)
ELBO, READ, TOLD = "ELBO, nats a cell", "donor read off style", "R2 of donors' effects"
results = pd.DataFrame(columns=[ELBO, READ, TOLD], dtype=float)
for name, (model, guide) in pairs.items():
    results.loc[name, ELBO] = elbo_metrics(model, guide, test, seed=options.seed)["per_observation"]
    results.loc[name, READ] = donor_read_off(style_codes(encode(guide, test))["draws"])
results.loc["the true states", READ] = donor_read_off(torch.from_numpy(state[unseen_cell]))
results.loc["chance", READ] = 1.0 / (~seen).sum()
results.loc["Multi-Level VAE", TOLD] = r2_score(effect[~seen], by_content)
results.loc["mean log counts", TOLD] = r2_score(effect[~seen], told(log_counts, effect, seen))
print(f"{len(test):,} cells of {(~seen).sum()} donors that training never saw:")
print(results.to_string(float_format="{:.3f}".format, na_rep=""))

figure = new_figure(7.5, 3.8)
left, right = (tidy(axes) for axes in figure.subplots(1, 2))
for axes in (left, right):
    axes.axline((0.0, 0.0), slope=1.0, color=CONTROL, linewidth=0.8)
    axes.set_prop_cycle(color=COLOURS)
left.plot(effect[~seen], by_content, "o", markersize=4, label=["effect 1", "effect 2", "effect 3"])
right.plot(state[unseen_cell], by_style, "o", markersize=2, label=["state 1", "state 2"])
left.set(title="Donors never seen", xlabel="true effect", ylabel="told by content")
right.set(title="Their cells", xlabel="true state", ylabel="told by style")
left.legend(frameon=False)
right.legend(frameon=False)
save_figure(figure, Path("cells.png"))
print("see cells.png")
