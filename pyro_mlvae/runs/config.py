"""What a run is made from: a value that is written to config.json, and builds the pair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from pyro.infer import ELBO

from pyro_mlvae.data import GroupedDataset, load_dataset
from pyro_mlvae.data.labels import present_names
from pyro_mlvae.errors import InputError, require_positive, require_seed, require_types, unknown_name
from pyro_mlvae.estimators import make_estimator
from pyro_mlvae.files import memory_size
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.likelihoods import make_likelihood
from pyro_mlvae.models import MLVAE
from pyro_mlvae.networks import StyleGivenContent
from pyro_mlvae.penalties import HSIC, AggregateStyle, Penalty, WeightedKL
from pyro_mlvae.runs.pairs import (
    AUTO,
    NETWORKS,
    check_names,
    choose_networks,
    guide_class,
    make_guide,
    make_model,
    room_for,
)
from pyro_mlvae.training.acceleration import PRECISIONS

SAMPLERS = ("auto", "groups", "observations")
MOST_LAYERS = 100
# scikit-learn, which probes, takes seeds of 32 bits.
MOST_SEED = 2**32 - 1
# Of a parameter in training: itself, its gradient, and the two of Adam's state, in float32.
_BYTES = 16
_PENALTIES = (
    *("beta_content", "beta_style", "warmup_steps", "free_bits_content", "free_bits_style"),
    *("aggregate_style", "hsic"),
)


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides how a run turns out, but the data itself.

    Raises:
        InputError: a value is out of range or a name unknown; nothing else is checked as early.

    >>> RunConfig(epochs=0)
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: epochs must be a positive whole number, got 0
    """

    data: str = "digits"
    """What to train on: digits, glyphs, linear-gaussian, mnist, fashion-mnist, omniglot, celeba, lfw, or
    your own: folder:PATH, npz:PATH, npy:DIR. `pyro-mlvae datasets` tells more of each."""
    data_root: str = "data"
    """Where the files of named data sets are."""
    image_size: int | None = None
    """Side to which the images of folder:PATH are resized and cropped."""
    grayscale: bool = False
    """Turn the images of folder:PATH grey."""
    skip_bad: bool = False
    """Leave out the images of folder:PATH that cannot be read, and say so."""
    model: str = "mlvae"
    """The generative model: mlvae; vae, the baseline that knows nothing of groups; three-level, for data
    with super-groups; mixture-prior, whose prior of content is learned; or your own, path/to/file.py:Class,
    whose code is run."""
    guide: str = AUTO
    """The guide: product-of-normals (the paper's), product-with-prior, average-of-normals (GVAE's), vae and
    three-level for the models of those names, auto: the one that goes with the model; or your own,
    path/to/file.py:Class, whose code is run."""
    style_given_content: bool = False
    """Let the style of an observation depend on its group's content: q(S | x, C)."""
    likelihood: str = "normal"
    """Of x: normal, normal-learned (the paper's), bernoulli, or continuous-bernoulli."""
    content_dim: int = 16
    """Size of content, what a group shares."""
    style_dim: int = 4
    """Size of style, what an observation adds; a larger one lets more of the content leak in."""
    network: str = "auto"
    """Encoder and decoder: mlp (the paper's), conv, or auto: conv for images of 16x16 and more."""
    hidden: tuple[int, ...] = ()
    """Widths of the encoder's hidden layers, the decoder's in reverse; 500 for mlp, 256 for conv."""
    sampler: str = "auto"
    """How minibatches are formed. groups: --groups-per-batch groups with --observations-per-group of
    each, and an epoch visits every group once. observations: as many observations in all, at random,
    grouped inside the minibatch, and an epoch visits every observation once. auto: observations where
    groups are large (on average more than 4 x --observations-per-group), else groups."""
    groups_per_batch: int = 10
    """Groups in a minibatch."""
    observations_per_group: int = 16
    """At most so many observations stand for a group in a minibatch."""
    epochs: int = 200
    """How many epochs to train."""
    learning_rate: float = 1e-3
    """Adam's."""
    elbo: str = "trace"
    """The ELBO estimator: trace, mean-field (divergences in closed form), graph (equals trace here),
    renyi (one weight a minibatch), group-iwae and group-renyi (one weight a group), nested-iwae (--inner
    draws of style for each of content), dreg (group-iwae with better gradients), stl (sticking the
    landing) or local (content drawn for every observation)."""
    num_particles: int = 1
    """Draws from the guide in every step."""
    alpha: float | None = None
    """The order of renyi and group-renyi; by default 0 and 0.5."""
    inner: int | None = None
    """Draws of style for every draw of content, in nested-iwae; by default 5."""
    beta_content: float = 1.0
    """Weight of the divergence of content in training; 1 is the ELBO's."""
    beta_style: float = 1.0
    """Weight of the divergence of style in training; 1 is the ELBO's."""
    warmup_steps: int = 0
    """Over so many steps of training the weights of the divergences rise from 0 to these."""
    free_bits_content: float = 0.0
    """Nats per dimension below which the divergence of content is not reduced further."""
    free_bits_style: float = 0.0
    """Nats per dimension below which the divergence of style is not reduced further."""
    aggregate_style: float = 0.0
    """Weight of a penalty on every group's aggregate style that differs from the prior."""
    hsic: float = 0.0
    """Weight of a penalty on the dependence of style on the group (HSIC), in nats per observation."""
    vae: bool = True
    """Train a plain VAE of the same networks, size and budget as well, and show it beside the model."""
    precision: str = "float32"
    """In which the networks compute in training: float32, or bf16, which takes a device that has bfloat16;
    weights, draws, products of Normals and densities stay in float32."""
    test_fraction: float = 0.2
    """How much of every group is held out, where the data comes with no test set of its own."""
    hold_out_groups: tuple[str, ...] = ()
    """Groups or super-groups, by name, that are held out whole: never seen in training."""
    hold_out_fraction: float = 0.0
    """As many of the groups, chosen at random, are held out whole."""
    seed: int = 0
    """Of the split, the initial weights, the minibatches and the draws."""

    def __post_init__(self) -> None:
        require_types(self, RunConfig)
        require_positive(
            content_dim=self.content_dim,
            style_dim=self.style_dim,
            groups_per_batch=self.groups_per_batch,
            observations_per_group=self.observations_per_group,
            epochs=self.epochs,
            num_particles=self.num_particles,
        )
        for what, name, known in (
            ("sampler", self.sampler, SAMPLERS),
            ("network", self.network, ["auto", *NETWORKS]),
            ("precision", self.precision, PRECISIONS),
        ):
            if name not in known:
                raise unknown_name(what, name, known)
        check_names(self.model, self.guide)
        self.penalties()
        self.estimator()
        make_likelihood(self.likelihood)
        if self.hold_out_groups and self.hold_out_fraction:
            raise InputError("hold_out_groups and hold_out_fraction exclude each other: give one of them")
        if not 0.0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        if len(self.hidden) > MOST_LAYERS:
            raise InputError(f"hidden must name at most {MOST_LAYERS} layers, got {len(self.hidden)}")
        require_positive(
            **{f"the width of hidden layer {i}": n for i, n in enumerate(self.hidden, start=1)}
        )
        require_seed(self.seed, MOST_SEED)

    def estimator(self) -> ELBO:
        """The estimator of training."""
        return make_estimator(self.elbo, self.num_particles, alpha=self.alpha, inner=self.inner)

    def load(self, *, download: bool = False) -> GroupedDataset:
        """The data."""
        return load_dataset(
            self.data,
            self.data_root,
            download=download,
            image_size=self.image_size,
            grayscale=self.grayscale,
            skip_bad=self.skip_bad,
        )

    def split(self, data: GroupedDataset) -> tuple[RunConfig, GroupedDataset, GroupedDataset]:
        """The training and the held-out part, and this config with the held-out groups by name.

        By name the same groups are found again, however the data is ordered or has grown.
        """
        if not (self.hold_out_groups or self.hold_out_fraction):
            return self, *data.split(self.test_fraction, seed=self.seed)
        train, test = data.split_groups(self.hold_out_groups or self.hold_out_fraction, seed=self.seed)
        names = present_names(test.group, data.group_names)
        named = replace(self, hold_out_groups=self.hold_out_groups or names, hold_out_fraction=0.0)
        return named, train, test

    def build(
        self, event_shape: Sequence[int], *, most_parameters: int | None = None
    ) -> tuple[MLVAE, GroupedGuide]:
        """The model and the guide with their initial weights, which follow from the seed alone.

        Args:
            event_shape: the shape of one observation.
            most_parameters: how many the networks may have; by default as many as memory has room for
                when they are trained.

        Raises:
            InputError: they would have more; nothing is allocated before.
        """
        likelihood = make_likelihood(self.likelihood)
        dims = (self.content_dim, self.style_dim)
        make_encoder, make_decoder, hidden = choose_networks(self.network, event_shape)
        hidden = self.hidden or hidden
        if most_parameters is None:
            most_parameters = memory_size() // _BYTES
        # Parameters made in inference mode could never be trained.
        with room_for(most_parameters), torch.random.fork_rng([]), torch.inference_mode(False):
            torch.manual_seed(self.seed)
            decoder = make_decoder(event_shape, *dims, likelihood.outputs, hidden=hidden)
            width = guide_class(self.guide, self.model).width(*dims)
            encoder = make_encoder(event_shape, *dims, hidden=hidden, width=width)
            style_given_content = StyleGivenContent(*dims) if self.style_given_content else None
            model = make_model(self.model, decoder, likelihood, *dims)
            return model, make_guide(self.guide, self.model, encoder, style_given_content)

    def plain_vae(self) -> RunConfig:
        """The same networks, size and budget for a plain VAE: no groups, and nothing added to its ELBO."""
        added = {name: getattr(RunConfig, name) for name in _PENALTIES}
        return replace(self, model="vae", guide=AUTO, style_given_content=False, vae=False, **added)

    def penalties(self) -> list[Penalty]:
        """What is taken off the objective in training: nothing, unless it is asked for.

        >>> RunConfig(hsic=100.0).penalties()
        [HSIC(weight=100.0, bandwidths=(0.03, 0.12, 0.5))]
        """
        warmup = self.warmup_steps
        divergences = (
            WeightedKL("content", self.beta_content, warmup, self.free_bits_content),
            WeightedKL("style", self.beta_style, warmup, self.free_bits_style),
        )
        found: list[Penalty] = [kl for kl in divergences if kl != WeightedKL(kl.site)]
        weighted = (AggregateStyle(self.aggregate_style), HSIC(self.hsic))
        return found + [penalty for penalty in weighted if penalty.weight]
