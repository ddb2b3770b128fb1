"""How much of the group is in style, and what helps against it?

Run: python examples/style_leak.py
     python examples/style_leak.py --data mnist --data-root data --download --remedies "HSIC 100"

Trains one model for each remedy, from the same initial networks. A probe predicts the label from
the codes of held-out observations, and from those of untrained networks. The ELBO is without
penalties. Results go to OUT, a file for each remedy; a remedy with a file is not trained again.
Writes a table and style-leak.png.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pyro.optim import ClippedAdam
from tqdm import tqdm

from pyro_mlvae import (
    MLVAE,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ObservationSampler,
    ProductOfNormals,
    StyleGivenContent,
    fit,
    load_dataset,
)
from pyro_mlvae.data import AffineJitter
from pyro_mlvae.evaluation import elbo_metrics, probe_metrics
from pyro_mlvae.penalties import HSIC, AggregateStyle, Penalty, WeightedKL
from pyro_mlvae.plotting import save_figure
from pyro_mlvae.plotting.style import COLOURS, CONTENT, CONTROL, STYLE, new_figure, tidy
from pyro_mlvae.runs import write_json


@dataclass(frozen=True)
class Remedy:
    """What is added to the objective; whether style knows content, and images are jittered."""

    penalties: Sequence[Penalty] = field(default_factory=list)
    style_given_content: bool = True
    jitter: bool = False


REMEDIES = {
    "q(S|x)": Remedy(style_given_content=False),
    "q(S|x,C)": Remedy(),
    "jitter": Remedy(jitter=True),
    "beta 2": Remedy([WeightedKL("style", beta=2.0)]),
    "aggregate 1": Remedy([AggregateStyle(1.0)]),
    "HSIC 30": Remedy([HSIC(30.0)]),
    "HSIC 100": Remedy([HSIC(100.0)]),
    "HSIC 300": Remedy([HSIC(300.0)]),
    "HSIC 100, q(S|x)": Remedy([HSIC(100.0)], style_given_content=False),
    "HSIC 100, jitter": Remedy([HSIC(100.0)], jitter=True),
}
UNPENALISED = "q(S|x,C)"

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--data", default="digits", choices=["digits", "mnist", "fashion-mnist"])
parser.add_argument("--data-root", default="data")
parser.add_argument("--download", action="store_true")
parser.add_argument(
    "--remedies", nargs="+", default=list(REMEDIES), choices=REMEDIES, metavar="NAME"
)
parser.add_argument(
    "--epochs", type=int, help="other than the data's: 150 for digits, 15 for the others"
)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("style-leak"))
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()
small = options.data == "digits"
epochs = 1 if options.smoke else options.epochs or (150 if small else 15)
remedies = options.remedies[-2:] if options.smoke else options.remedies
DIMS, BATCH, KS = (16, 4), 200, (1, 5)  # sizes of content and style, and of minibatches
data = load_dataset(options.data, options.data_root, download=options.download)
train, test = data.split(seed=options.seed)


def build(remedy: Remedy) -> tuple[MLVAE, ProductOfNormals]:
    """The pair with its initial weights, the same for every remedy."""
    torch.manual_seed(options.seed)
    networks = (data.event_shape, *DIMS)
    decoder = MLPDecoder(*networks) if small else ConvDecoder(*networks)
    encoder = MLPEncoder(*networks) if small else ConvEncoder(*networks)
    style = StyleGivenContent(*DIMS) if remedy.style_given_content else None
    model = MLVAE(decoder, NormalLikelihood(0.2 if small else 0.5), *DIMS)
    return model, ProductOfNormals(encoder, style_given_content=style)


def measured(name: str) -> dict[str, Any]:
    """Train with one remedy and measure what it left."""
    remedy = REMEDIES[name]
    model, guide = build(remedy)
    sampler: Any = ObservationSampler(train, BATCH, seed=options.seed)
    steps = epochs * len(train) / BATCH
    started = time.perf_counter()
    with tqdm(total=epochs, desc=name, unit="epoch") as bar:
        fit(
            model,
            guide,
            AffineJitter(sampler, seed=options.seed) if remedy.jitter else sampler,
            epochs=epochs,
            penalties=remedy.penalties,
            optimizer=ClippedAdam({"lr": 2e-3, "lrd": 0.05 ** (1 / steps)}),
            seed=options.seed,
            callback=lambda record: bar.update(),
        )
    seconds = time.perf_counter() - started
    return {
        "remedy": name,
        "seed": options.seed,
        "training_seconds": seconds,
        "elbo": elbo_metrics(model, guide, test, content_draws=5, style_draws=2, seed=options.seed),
        "probe": probe_metrics(guide, train, test, ks=KS, seed=options.seed),
    }


def untrained(name: str) -> dict[str, Any]:
    """The accuracy of probes on networks that were never trained."""
    return probe_metrics(build(REMEDIES[name])[1], train, test, ks=KS, seed=options.seed)


def kept(name: str, measure: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The measurement of that name, from its file if it was made before."""
    called = re.sub(r"[^0-9A-Za-z]+", "-", f"{measure.__name__} {name} {options.seed}")
    file = options.out / f"{called}.json"
    if not file.is_file():
        write_json(file, measure(name))
    return dict(json.loads(file.read_text()))


def accuracy(result: Mapping[str, Any], code: str) -> float:
    """The accuracy of a probe on a draw of style, or on the content, of one observation."""
    scores = result["style"]["draws"] if code == "style" else result["content"]["1"]
    return float(scores["accuracy"])


options.out.mkdir(parents=True, exist_ok=True)
results = []
for name in remedies:
    # Networks that were never trained differ only in whether style knows content.
    alike = "q(S|x,C)" if REMEDIES[name].style_given_content else "q(S|x)"
    results.append(kept(name, measured) | {"untrained": kept(alike, untrained)})

elbos = {result["remedy"]: result["elbo"]["per_observation"] for result in results}
print(
    f"{'remedy':24}{'style':>8}{'untrained':>11}{'content':>9}{'untrained':>11}{'ELBO':>10}{'gain':>8}"
)
for result in results:
    probes = (result["probe"], result["untrained"])
    style, content = ([accuracy(probe, code) for probe in probes] for code in ("style", "content"))
    gain = elbos[result["remedy"]] - elbos.get(UNPENALISED, float("nan"))
    print(
        f"{result['remedy']:24}{style[0]:8.3f}{style[1]:11.3f}{content[0]:9.3f}{content[1]:11.3f}"
        f"{elbos[result['remedy']]:10.2f}{gain:8.2f}"
    )

# One row a remedy: what a probe reads off both codes, and what that costs.
rows = range(len(results))
figure = new_figure(9.0, 1.4 + 0.3 * len(results))
left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
for code, colour in (("style", STYLE), ("content", CONTENT)):
    known = [accuracy(result["probe"], code) for result in results]
    never = [accuracy(result["untrained"], code) for result in results]
    left.plot(known, rows, "o", color=colour, label=code)
    left.plot(
        never,
        rows,
        "|",
        color=colour,
        label=f"{code}, untrained",
        markersize=11,
        markeredgewidth=1.5,
    )
left.axvline(
    float(test.label.bincount().max()) / len(test), color=CONTROL, linewidth=1.0, label="chance"
)
right.barh(
    rows, [elbos[result["remedy"]] - max(elbos.values()) for result in results], color=COLOURS[2]
)
tidy(left).set(xlabel="labels that a probe reads off one observation", xlim=(0.0, 1.02))
tidy(right).set(xlabel="ELBO below the best, nats per observation")
left.set_yticks(rows, [result["remedy"] for result in results])
left.invert_yaxis()
figure.suptitle("How much style knows of the group, and what it costs to know less", fontsize=11)
figure.legend(
    *left.get_legend_handles_labels(),
    loc="outside lower center",
    ncols=5,
    frameon=False,
    fontsize=8,
)
save_figure(figure, options.out / "style-leak.png")
print(f"see {options.out}")
