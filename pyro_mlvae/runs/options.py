"""The options of a run, in named groups: each default and line of help stands here alone.

A command nests the groups, and its help shows each in a box of its own; :class:`RunConfig` inherits
them all, flat; the scikit-learn estimator has those of the model, the objective and training as
parameters.

To add an option, add a field with its default and its docstring to the group that it belongs to. It
is then an option of the commands, a key of config.json, a line of the report's command, a parameter
of the estimator and an entry of the documentation. Values that its type does not rule out are
checked in ``RunConfig.__post_init__``; runs that were written before it existed open with its
default.

This module imports no torch, so that help and errors of spelling need none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# What small data needed to be best on held-out observations: faces 1,600 to 1,900 steps, Omniglot
# 2,400.
DEFAULT_STEPS = 2_000


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What to train on, and what of it is held out."""

    data: str = "digits"
    """What to train on: digits, glyphs, linear-gaussian, mnist, fashion-mnist, omniglot, celeba,
    lfw, or your own: folder:PATH, npz:PATH, npy:DIR, csv:PATH, parquet:PATH. `pyro-mlvae datasets`
    tells more of each."""
    data_root: str = "data"
    """Where the files of named data sets are."""
    image_size: int | None = None
    """Side to which the images of folder:PATH are resized and cropped; unless said, 32 where they
    differ in size or are larger than 64."""
    grayscale: bool = False
    """Turn the images of folder:PATH grey."""
    skip_bad: bool = False
    """Leave out the images of folder:PATH that cannot be read, and say so."""
    group_column: str | None = None
    """The column of csv:PATH or parquet:PATH that says the group of each row, which they need."""
    label_column: str | None = None
    """Their column of evaluation labels; by default the groups are the labels."""
    feature_columns: tuple[str, ...] = ()
    """Their columns of x; by default all columns of numbers but these two."""
    test_fraction: float = 0.2
    """How much of every group is held out, where the data comes with no test set of its own."""
    hold_out_groups: tuple[str, ...] = ()
    """Groups or super-groups, by name, that are held out whole: never seen in training."""
    hold_out_fraction: float = 0.0
    """As many of the groups, chosen at random, are held out whole."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model, the guide and their networks."""

    model: str = "mlvae"
    """The generative model: mlvae; vae, the baseline that knows nothing of groups; three-level, for
    data with super-groups; mixture-prior, whose prior of content is learned; or your own,
    path/to/file.py:Class, whose code is run."""
    guide: str = "auto"
    """The guide: product-of-normals (the paper's), product-with-prior, average-of-normals (GVAE's),
    ada-ml-vae and ada-gvae for pairs, vae and three-level for the models of those names, auto: the
    one that goes with the model; or your own, path/to/file.py:Class, whose code is run."""
    style_given_content: bool = False
    """Let the style of an observation depend on its group's content: q(S | x, C)."""
    likelihood: str = "auto"
    """Of x: normal, of one fixed scale; normal-per-feature, whose scale is learned for each
    feature; normal-learned (the paper's); bernoulli or continuous-bernoulli, for x in [0, 1];
    counts (negative binomial); auto: normal for images, normal-per-feature for vectors."""
    likelihood_scale: float | None = None
    """The scale of the likelihood normal, 0.2 unless said, where x is scaled: of images to [0, 1],
    of vectors to a standard deviation of 1 for every feature."""
    library_size: bool = False
    """Of counts: means are shares of each observation's own total, such as a cell's library size,
    which is taken as given."""
    missing: str = "refuse"
    """What NaN in x means. refuse: an error; mask: a value is missing, and left out of log p(x)."""
    content_dim: int = 16
    """Size of content, what a group shares."""
    style_dim: int = 4
    """Size of style, what an observation adds; a larger one lets more of the content leak in."""
    network: str = "auto"
    """Encoder and decoder: mlp (the paper's), conv; posed, conv where the first six numbers of
    style turn, size, shear and shift the picture; or auto: conv for images of 16x16 and more."""
    hidden: tuple[int, ...] = ()
    """Widths of the encoder's hidden layers, the decoder's in reverse; 500 for mlp, else 256."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """What training maximises: an ELBO, less penalties."""

    elbo: str = "trace"
    """The ELBO estimator: trace, mean-field (divergences in closed form), graph (equals trace
    here), renyi (one weight a minibatch), group-iwae and group-renyi (one weight a group),
    nested-iwae (--inner draws of style for each of content), dreg (group-iwae with better
    gradients), miwae (the mean of several group-iwae), piwae (group-iwae for the model, miwae for
    the guide), ciwae (half trace, half group-iwae), rws (reweighted wake-sleep), stl (sticking the
    landing) or local (content drawn for every observation)."""
    num_particles: int = 1
    """Draws from the guide in every step."""
    alpha: float | None = None
    """The order of renyi and group-renyi; by default 0 and 0.5."""
    inner: int | None = None
    """Draws of style for every draw of content, in nested-iwae; by default 5."""
    evidence: str = "whole"
    """From what content is inferred in training: the whole of a group's observations in the
    minibatch, or a random-part of them, of every size; at test time always the whole."""
    beta_content: float = 1.0
    """Weight of the divergence of content in training; 1 is the ELBO's."""
    beta_style: float = 1.0
    """Weight of the divergence of style in training; 1 is the ELBO's."""
    warmup_steps: int = 0
    """Over so many steps of training the weights of the divergences, or their targets, rise from
    0."""
    free_bits_content: float = 0.0
    """Nats per dimension below which the divergence of content is not reduced further."""
    free_bits_style: float = 0.0
    """Nats per dimension below which the divergence of style is not reduced further."""
    target_content: float | None = None
    """Nats at which the divergence of a group's content is held in training, in the place of its
    weight."""
    target_style: float | None = None
    """Nats at which the divergence of an observation's style is held, likewise."""
    target_weight: float = 10.0
    """Weight of a nat's distance from these targets."""
    aggregate_style: float = 0.0
    """Weight of a penalty on every group's aggregate style that differs from the prior."""
    hsic: float = 0.0
    """Weight of a penalty on the dependence of style on the group (HSIC), in nats per
    observation."""
    style_cycle: float = 0.0
    """Weight of a penalty on styles that are read differently off decodings with two contents."""
    pair_switching: float = 0.0
    """Weight of a penalty on styles that are near those of the same group (CLEAR's pair
    switching)."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Minibatches and steps."""

    sampler: str = "auto"
    """How minibatches are formed. groups: --groups-per-batch groups with --observations-per-group
    of each, and an epoch visits every group once. observations: as many observations in all, at
    random, grouped inside the minibatch, and an epoch visits every observation once. auto:
    observations where groups are large (on average more than 4 x --observations-per-group), else
    groups."""
    groups_per_batch: int = 10
    """Groups in a minibatch."""
    observations_per_group: int = 16
    """At most so many observations stand for a group in a minibatch."""
    steps: int | None = None
    """How many steps to train at most: 2,000, unless --epochs is given."""
    epochs: int | None = None
    """How many epochs to train at most, instead of --steps."""
    validation_fraction: float = 0.05
    """How much of the training part is held out to judge training by, from 20 to 2,000
    observations; none where that would be more than a fifth. Where whole groups are held out for
    the test and this is at least 10 groups, whole groups. 0 holds out nothing: training goes on to
    its last step."""
    patience: int = 10
    """End training when so many measurements on what is held out were no better than the best one
    before them; a budget has about 50. In any case the best weights are kept. 0: the last weights
    are."""
    augment: tuple[str, ...] = ()
    """Change images anew every time that they are trained on: affine (turned, stretched, shifted a
    little), flip (mirrored, for photographs)."""
    learning_rate: float = 1e-3
    """Adam's."""
    vae: bool = True
    """Train a plain VAE of the same networks, size and budget as well, and show it beside the
    model."""
    precision: str = "float32"
    """In which the networks compute in training: float32, or bf16, which takes a device that has
    bfloat16; weights, draws, products of Normals and densities stay in float32."""
    seed: int = 0
    """Of the split, the initial weights, the minibatches and the draws."""

    @property
    def budget(self) -> dict[str, int]:
        """How long to train, as ``fit`` takes it: ``epochs`` or ``steps``.

        >>> TrainingOptions().budget, TrainingOptions(epochs=3).budget
        ({'steps': 2000}, {'epochs': 3})
        """
        if self.epochs is not None:
            return {"epochs": self.epochs}
        return {"steps": DEFAULT_STEPS if self.steps is None else self.steps}


# How a run turns out does not depend on what follows, which is no part of a config.


@dataclass(frozen=True, kw_only=True)
class FetchedDataOptions(DataOptions):
    """What to train on, and what of it is held out."""

    download: bool = False
    """Fetch a named data set whose files are not there."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the run is written."""

    out: Path | None = None
    """The run folder to write: config.json, model.safetensors, history.csv, metrics.json, figures,
    and report.html, which is all of it on one page."""
    resume: Path | None = None
    """Go on with the run in this folder, from its last checkpoint, instead: everything comes from
    its config.json, but --steps, --epochs and --patience may be given anew, and --data and
    --data-root say where the data lies now."""
    overwrite: bool = False
    """Replace the run that --out holds."""
