"""A guide of your own beside the library's: how to combine the observations of a group?

Run: python examples/custom_guide.py

On the embedded digits; takes about a minute. Writes guides.png: the scale of content from more and
more observations, for each guide. The guide below also works on the command line:
pyro-mlvae train --guide examples/custom_guide.py:OpinionPool --out runs/pool
"""

import argparse
from pathlib import Path

import torch
from pyro.distributions import Normal
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from tqdm import tqdm

from pyro_mlvae import (
    MLVAE,
    GroupedGuide,
    GroupSampler,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ObservationSampler,
    ProductOfNormals,
    check,
    fit,
    load_dataset,
)
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.evaluation import elbo_metrics, evidence_metrics, probe_metrics
from pyro_mlvae.guides import AverageOfNormals
from pyro_mlvae.ops import normal_from_parameters, product_of_normals
from pyro_mlvae.plotting import save_figure
from pyro_mlvae.plotting.style import COLOURS, new_figure, tidy


class OpinionPool(GroupedGuide):
    """q(C_G | X_G) ∝ prod over i in G of N(C; loc_c(x_i), scale_c(x_i))^(1/n)."""

    def content_posterior(self, features: Tensor, groups: Groups) -> TorchDistributionMixin:
        """As sure as one observation of the group is on average, however many there are."""
        content = normal_from_parameters(self.split(features)[0])
        n = groups.sizes.index_select(0, groups.group).unsqueeze(-1)
        scale = content.scale * n.sqrt()
        pool = product_of_normals(content.loc, scale, groups.group, groups.num_groups)
        return Normal(*pool).to_event(1)


GUIDES: dict[str, type[GroupedGuide]] = {
    "product of Normals": ProductOfNormals,
    "average of Normals": AverageOfNormals,
    "opinion pool": OpinionPool,
}
CONTENT, STYLE = 16, 4


def main() -> None:
    """Train with each guide, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("guides.png"))
    parser.add_argument(
        "--smoke", action="store_true", help="so small that it only shows that it runs"
    )
    options = parser.parse_args()
    train, test = load_dataset("digits").split(0.2, seed=options.seed)
    small = next(GroupSampler(train, groups_per_batch=3, observations_per_group=3).epoch(0))
    figure = new_figure(4.6, 3.2)
    axes = tidy(figure.subplots())
    print(f"{'guide':22}{'ELBO':>8}{'KL content':>12}{'content of 1':>14}{'of 5':>8}{'style':>8}")
    for (name, make), colour in zip(tqdm(GUIDES.items(), unit="guide"), COLOURS, strict=False):
        torch.manual_seed(options.seed)
        decoder = MLPDecoder(train.event_shape, CONTENT, STYLE)
        model = MLVAE(decoder, NormalLikelihood(0.2), CONTENT, STYLE)
        guide = make(MLPEncoder(train.event_shape, CONTENT, STYLE))
        check(model, guide, small)
        epochs = 2 if options.smoke else options.epochs
        sampler = ObservationSampler(train, observations_per_batch=160, seed=options.seed)
        fit(model, guide, sampler, epochs=epochs, seed=options.seed)
        elbo = elbo_metrics(model, guide, test, content_draws=1, style_draws=1, seed=options.seed)
        probe = probe_metrics(guide, train, test, ks=(1, 5), seed=options.seed)
        one, five = (probe["content"][k]["accuracy"] for k in ("1", "5"))
        print(
            f"{name:22}{elbo['per_observation']:8.2f}{elbo['kl_content']:12.2f}{one:14.3f}{five:8.3f}"
            f"{probe['style']['draws']['accuracy']:8.3f}"
        )
        evidence = evidence_metrics(guide, test, ks=(1, 2, 5, 10, 20), seed=options.seed)
        axes.plot(evidence["k"], evidence["content_scale"], "o-", color=colour, label=name)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="observations of a group",
        ylabel="mean scale of its content",
    )
    axes.set_xticks(evidence["k"], [str(k) for k in evidence["k"]])
    axes.set_yticks([0.1, 0.2, 0.4, 0.8], ["0.1", "0.2", "0.4", "0.8"])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, options.out)
    print(
        "with five observations of a digit, the label that is read has grouped them: compare, no "
        "more"
    )


if __name__ == "__main__":
    main()
