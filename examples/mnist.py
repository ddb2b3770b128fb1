"""The paper's experiment on MNIST: is the digit in content, and not in style?

Run: python examples/mnist.py --data-root data --download
     python examples/mnist.py --data-root data --configuration best --seed 1 --hold-out 9

Trains the paper's configuration, or the best one found, and a plain VAE of the same networks.
Prints what a probe predicts from the codes of the 10,000 test digits, beside the VAE and untrained
networks, and writes it to OUT with the pictures. With --hold-out, training leaves a digit out, and
pairs of its drawings are told from pairs of others.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyro.optim import ClippedAdam
from tqdm import tqdm

from pyro_mlvae import (
    MLVAE,
    VAE,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ObservationSampler,
    ProductOfNormals,
    StyleGivenContent,
    VAEGuide,
    fit,
    load_dataset,
    make_likelihood,
)
from pyro_mlvae.cli.summary import summary
from pyro_mlvae.data import AffineJitter
from pyro_mlvae.evaluation import evaluate, unseen_metrics
from pyro_mlvae.latents import encode, swap
from pyro_mlvae.likelihoods import Likelihood
from pyro_mlvae.plotting import draw_run, save_figure, swap_grid
from pyro_mlvae.runs import write_json
from pyro_mlvae.training import History


@dataclass(frozen=True)
class Configuration:
    """The paper's: one hidden layer of 500, a Normal likelihood with a variance for each pixel."""

    likelihood: Likelihood
    content_dim: int = 10
    style_dim: int = 10
    batch: int = 512
    epochs: int = 30
    learning_rate: float = 1e-3
    best: bool = False


CONFIGURATIONS = {
    "paper": Configuration(make_likelihood("normal-learned")),
    "bernoulli": Configuration(make_likelihood("bernoulli")),
    # Convolutions, jittered images, a style that is small and knows content, and a scale of pixels
    # that leaves to style only what is worth its nats.
    "best": Configuration(NormalLikelihood(0.5), 16, 4, 200, 15, 2e-3, best=True),
}

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--data-root", default="data")
parser.add_argument("--download", action="store_true")
parser.add_argument("--configuration", default="paper", choices=CONFIGURATIONS)
parser.add_argument("--hold-out", type=int, help="a digit to leave out of training")
parser.add_argument("--epochs", type=int, help="other than the configuration's")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("mnist"))
parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it runs")
options = parser.parse_args()
config = CONFIGURATIONS[options.configuration]
epochs = 1 if options.smoke else options.epochs or config.epochs
options.out.mkdir(parents=True, exist_ok=True)

train, test = load_dataset("mnist", options.data_root, download=options.download).split()
if options.hold_out is not None:
    train = train.split_groups([str(options.hold_out)])[0]
shape, dims = train.event_shape, (config.content_dim, config.style_dim)


def build(vae: bool = False) -> tuple[MLVAE, ProductOfNormals]:
    """The pair with its initial weights, the same for every seed of one number."""
    torch.manual_seed(options.seed)
    make_encoder, make_decoder = (
        (ConvEncoder, ConvDecoder) if config.best else (MLPEncoder, MLPDecoder)
    )
    decoder = make_decoder(shape, *dims, config.likelihood.outputs)
    encoder = make_encoder(shape, *dims)
    if vae:
        return VAE(decoder, config.likelihood, *dims), VAEGuide(encoder)
    style_given_content = StyleGivenContent(*dims) if config.best else None
    guide = ProductOfNormals(encoder, style_given_content=style_given_content)
    return MLVAE(decoder, config.likelihood, *dims), guide


def trained(name: str, vae: bool = False) -> tuple[MLVAE, ProductOfNormals, History]:
    """The pair after training, with its history."""
    model, guide = build(vae)
    sampler = ObservationSampler(train, config.batch, seed=options.seed)
    steps = epochs * len(train) / config.batch
    with tqdm(total=epochs, desc=name, unit="epoch") as bar:
        history = fit(
            model,
            guide,
            AffineJitter(sampler, seed=options.seed) if config.best else sampler,
            epochs=epochs,
            # Down to a twentieth of the learning rate, by the end.
            optimizer=ClippedAdam({"lr": config.learning_rate, "lrd": 0.05 ** (1 / steps)}),
            seed=options.seed,
            callback=lambda record: bar.update(),
        )
    return model, guide, history


started = time.perf_counter()
model, guide, history = trained("ML-VAE")
vae_model, vae_guide, _ = trained("plain VAE", vae=True)
seconds = time.perf_counter() - started
untrained = build()[1]

if options.hold_out is None:
    metrics = evaluate(
        model, guide, untrained, train, test,
        vae=(vae_model, vae_guide), data_name="mnist", seed=options.seed,
    )  # fmt: skip
    print(summary(metrics))
    write_json(options.out / "metrics.json", metrics)
    draw_run(
        options.out, model, guide, test, metrics,
        history=history, vae=(vae_model, vae_guide), untrained=untrained,
    )  # fmt: skip
else:
    new, known = test.split_groups([str(digit) for digit in range(10) if digit != options.hold_out])
    found: Any = unseen_metrics(guide, untrained, new, vae=vae_guide, seen=known, seed=options.seed)
    write_json(options.out / "unseen.json", found)
    print(f"{options.hold_out}, never seen, told from the other digits, ROC AUC of pairs:")
    for name in ("vae", "untrained", "pixels"):
        print(f"  {name:10} {found[name]['verification_auc']:.3f}")
    print(f"  {'ML-VAE':10} {found['verification_auc']:.3f}")
    contents, styles = new.sample(8).observations(), known.sample(10).observations()
    grid = swap(model, encode(guide, contents).content.mean, encode(guide, styles).style.mean)
    title = f"{options.hold_out}, a digit never seen in training"
    save_figure(swap_grid(contents, styles, grid, title=title), options.out / "unseen.png")
print(
    f"{seconds:.0f} s of training, {time.perf_counter() - started:.0f} s in all; see {options.out}"
)
