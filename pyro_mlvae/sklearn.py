"""``MultiLevelVAE``: the model, its training and its codes as one scikit-learn estimator."""

from __future__ import annotations

import sys
import warnings
from dataclasses import fields, replace
from inspect import Parameter, Signature
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state, validation

from pyro_mlvae.data import GroupedDataset, GroupSampler
from pyro_mlvae.data.observations import as_numpy, unmasked
from pyro_mlvae.data.ranges import as_in_training, is_uint8, value_range
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.data.splits import Split
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators import ElboTerms
from pyro_mlvae.latents import decode, embed, encode
from pyro_mlvae.latents.encoding import BATCH_SIZE
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.minibatches import make_sampler, schedule
from pyro_mlvae.runs.options import ModelOptions, ObjectiveOptions, TrainingOptions
from pyro_mlvae.training import EpochRecord, elbo_terms, fit, fused_adam

# Before scikit-learn 1.6 it was a method.
validate_data = getattr(validation, "validate_data", None) or BaseEstimator._validate_data
_FINITE = f"{'ensure' if hasattr(validation, 'validate_data') else 'force'}_all_finite"
_TAKEN: Any = {"allow_nd": True, _FINITE: "allow-nan"}
SCORE_DRAWS = 10
# Parameters are the options of a run, less the seed, which is random_state, and the plain VAE.
_GROUPS = (ModelOptions, ObjectiveOptions, TrainingOptions)
_DEFAULTS = {option.name: option.default for group in _GROUPS for option in fields(group)}
del _DEFAULTS["seed"], _DEFAULTS["vae"]
_DEFAULTS |= {"device": "cpu", "random_state": None, "verbose": 0}
_POSITIONAL = ("content_dim", "style_dim")
_KINDS = {True: Parameter.POSITIONAL_OR_KEYWORD, False: Parameter.KEYWORD_ONLY}
_NAMES = [*_POSITIONAL, *(name for name in _DEFAULTS if name not in _POSITIONAL)]
SIGNATURE = Signature(
    [Parameter(name, _KINDS[name in _POSITIONAL], default=_DEFAULTS[name]) for name in _NAMES]
)


class MultiLevelVAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Content, what the rows of a group share, and style, what each row adds (arXiv 1705.08841)::

        C_G ~ N(0, I)                        one per group
        S_i ~ N(0, I)                        one per row
        x_i ~ p(x | C_G, S_i; theta)         decoder network
        q(C_G | X_G) ∝ prod_i N(C_G; loc_c(x_i), scale_c(x_i))
        q(S_i | x_i) = N(loc_s(x_i), scale_s(x_i))

    ``fit`` maximises the mean of the ELBO over the groups of a minibatch. X is ``[n, features]`` or
    images, ``[n, channels, height, width]`` or ``[n, height, width]``. It is computed with in
    float32, uint8 as pixels of [0, 1]. Networks see standardised features, or images in [0, 1]; the
    ELBO is of X itself. ``groups`` names the group of each row by any hashable value; without it
    every row is a group of its own, with a warning.

    Args:
        content_dim: numbers that describe what a group shares.
        style_dim: numbers that describe what a row adds; with more of them more content leaks in.
        model, guide, style_given_content, network, hidden: the pair.
        likelihood, likelihood_scale, library_size, missing: of x; "mask" leaves out NaN.
        sampler, groups_per_batch, observations_per_group: what is in a minibatch.
        steps, epochs, learning_rate: how long to train (2,000 steps by default), and Adam's step.
        validation_fraction, patience: how much of X (of 100 rows or more) judges training, and
            after how many of its 50 measurements without a better one it ends; the best stays.
        elbo, num_particles, alpha, inner: as :func:`~pyro_mlvae.make_estimator` takes them.
        evidence, augment, precision: of training.
        beta_content, beta_style, warmup_steps: weights of the divergences, and their rise from 0.
        free_bits_content, free_bits_style: nats of a divergence per dimension that are free.
        target_content, target_style, target_weight: divergences in nats, instead of weights.
        aggregate_style, hsic, style_cycle, pair_switching: see :mod:`pyro_mlvae.penalties`.
        device: "cpu", "cuda", "cuda:N", or "auto", a GPU where there is one.
        random_state: of weights, minibatches, draws and ``score``; None: NumPy's global state.
        verbose: 1 writes the ELBO of every epoch to stderr.

    All but the last three are options of a run, with its defaults: the page of settings has each.

    Attributes:
        model_, guide_: the trained pair, Pyro modules.
        history_, groups_: the :class:`History` of training; the groups, sorted if possible.
        config_, event_shape_: the :class:`RunConfig` of the pair, and the shape of a row.
        n_features_in_, feature_names_in_: the size of X's second dimension; its names, if all text.

    Raises:
        ValueError: X is not finite numbers of the shape of ``fit``.
        InputError: ``groups`` or a parameter is wrong, which ``fit`` finds.
        DivergedError: training met a NaN. Both are ValueErrors.
        NotFittedError: ``fit`` has not been called.

    The ELBO depends on the grouping, so a search must tell every step of it. Under metadata routing
    ``fit`` and ``score`` ask for ``groups``, as GroupKFold does, unless told otherwise::

        with sklearn.config_context(enable_metadata_routing=True):
            model = MultiLevelVAE().set_fit_request(groups=True).set_score_request(groups=True)
            GridSearchCV(model, {"style_dim": [2, 4]}, cv=GroupKFold()).fit(X, groups=groups)

    ``n_jobs`` needs processes, joblib's default: Pyro's parameter store is not for threads. Call
    ``model_.cpu()`` and ``guide_.cpu()`` before a pickle; with a class of "path/to/file.py:Class"
    it opens only in the process that wrote it.

    >>> from sklearn.datasets import load_digits
    >>> from pyro_mlvae import MultiLevelVAE
    >>> digits = load_digits()
    >>> model = MultiLevelVAE(content_dim=8, style_dim=2, epochs=3, random_state=0)
    >>> codes = model.fit(digits.data / 16, groups=digits.target).transform(digits.data / 16)
    >>> contents = model.transform_groups(digits.data / 16, digits.target)
    >>> codes.shape, contents.shape, model.inverse_transform(codes).shape
    ((1797, 10), (10, 8), (1797, 64))
    """

    # What metadata routing requests. Pipeline.score names sample_weight to every last step.
    __metadata_request__fit = {"groups": True}  # noqa: RUF012
    __metadata_request__score = {"groups": True, "sample_weight": None}  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name, value in (_DEFAULTS | SIGNATURE.bind(*args, **kwargs).arguments).items():
            setattr(self, name, value)

    # What scikit-learn, help and notebooks take the parameters from.
    __init__.__signature__ = SIGNATURE.replace(  # type: ignore[attr-defined]
        parameters=[Parameter("self", Parameter.POSITIONAL_ONLY), *SIGNATURE.parameters.values()]
    )

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> MultiLevelVAE:
        """Train anew on X in groups; y is ignored. After Ctrl-C what is trained is kept."""
        data = self._data(X, groups, reset=True)
        config, device = self._config().resolved(data), find_device(self.device)
        train, held_out, _ = config.with_validation(Split.whole(data), data).of(data)
        model, guide = config.build(data.event_shape, config.scaling(train))

        def show(record: EpochRecord) -> None:
            elbo = record.terms.per_observation()["elbo"]
            print(
                f"epoch {record.epoch}, step {record.steps}: {elbo:.2f} nats per row",
                file=sys.stderr,
            )

        history = fit(
            model,
            guide,
            make_sampler(config, train.to(device)),
            **schedule(config, train, held_out),
            estimator=config.estimator(),
            optimizer=fused_adam(config.learning_rate),
            penalties=config.penalties(),
            device=device,
            dtype=torch.float32,
            precision=config.precision,
            seed=config.seed,
            callback=show if self.verbose else None,
        )
        self.model_, self.guide_, self.history_, self.config_ = model, guide, history, config
        self._trained = value_range(data), is_uint8(data)
        self.groups_, self._n_features_out = data.group_names, config.content_dim + config.style_dim
        if history.interrupted:
            raise KeyboardInterrupt  # so that a search over many fits ends as well
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The locs of content and style of each row by itself, ``[n, content_dim + style_dim]``."""
        data = self._data(X, None, alone=True)
        return encode(self.guide_, data).loc.cpu().numpy()

    def transform_groups(self, X: Any, groups: Any) -> np.ndarray:
        """The content locs of groups, from all their rows, in the order of ``np.unique``."""
        data = self._data(X, groups)
        return embed(self.guide_, data)["group_content_loc"]

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """The decoder's mean of a row given content and style, in the shape of the rows of X."""
        validation.check_is_fitted(self)
        Z = check_array(Z, dtype=np.float32, input_name="Z")
        wanted = self._n_features_out
        if Z.shape[1] != wanted:
            raise InputError(f"Z must have {wanted} columns, as codes have, got {Z.shape[1]}")
        codes = torch.from_numpy(np.require(Z, requirements="W")).to(next(self.model_.parameters()))
        dims = [self.config_.content_dim, self.config_.style_dim]
        parts = [decode(self.model_, *part.split(dims, -1)) for part in codes.split(BATCH_SIZE)]
        return torch.cat(parts).reshape(-1, *self.event_shape_).cpu().numpy()

    def score(self, X: Any, y: Any = None, groups: Any = None) -> float:
        """The ELBO of X in its whole groups, in nats per row; y is ignored."""
        data = self._data(X, groups)
        together = max(1, BATCH_SIZE * data.num_groups // len(data))
        like, terms = next(self.guide_.parameters()), ElboTerms()
        sampler = GroupSampler(data, together, seed=self.config_.seed)
        for number, batch in enumerate(sampler.epoch(0)):
            pair, seed = (self.model_, self.guide_), mixed_seed(self.config_.seed, number)
            batch = batch.to(like.device, like.dtype)
            terms += elbo_terms(*pair, batch, num_particles=SCORE_DRAWS, seed=seed)
        return terms.per_observation()["elbo"]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """content0, content1, ..., style0, style1, ...; ``input_features`` is only checked."""
        super().get_feature_names_out(input_features)
        names = ((kind, getattr(self.config_, f"{kind}_dim")) for kind in ("content", "style"))
        return np.array([f"{kind}{i}" for kind, dim in names for i in range(dim)], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _config(self) -> RunConfig:
        """The parameters as the library has them, checked."""
        state = self.random_state
        if not isinstance(state, Integral):
            state = check_random_state(state).randint(2**31 - 1)
        lists = {"hidden": tuple(self.hidden), "augment": tuple(self.augment)}
        given = {**self.get_params(deep=False), **lists, "seed": int(state)}
        # A search over np.arange or a distribution of SciPy's gives NumPy's numbers.
        plain = {key: v.item() if isinstance(v, np.generic) else v for key, v in given.items()}
        return RunConfig(**{f.name: plain[f.name] for f in fields(RunConfig) if f.name in plain})

    def _data(
        self, X: Any, groups: Any, reset: bool = False, alone: bool = False
    ) -> GroupedDataset:
        """X in its groups, after the checks that scikit-learn makes, or its rows alone."""
        if not reset:
            validation.check_is_fitted(self, "model_")
        X = unmasked(as_numpy(X), self.missing)
        # Later values that float32 lacks are refused.
        dtypes = [np.float32, np.uint8, *([np.float64] if reset else [])]
        X = validate_data(self, X, reset=reset, dtype=dtypes, **_TAKEN)
        if reset:
            self.event_shape_ = X.shape[1:]
        elif X.shape[1:] != self.event_shape_:
            raise InputError(
                f"X must hold rows of shape {self.event_shape_}, as in fit, got {X.shape[1:]}"
            )
        if groups is None and not alone and self.model != "vae":
            warnings.warn(
                "without groups every row is a group of its own: pass groups", stacklevel=3
            )
        groups = np.arange(len(X)) if groups is None else groups
        data = GroupedDataset.from_arrays(X, groups, missing=self.missing)
        # Grey images without a channel, which convolutions want.
        x = torch.as_tensor(data.x)[:, None] if X.ndim == 3 else data.x
        data = replace(data, x=x, feature_names=tuple(getattr(self, "feature_names_in_", ())))
        return data if reset else as_in_training("X", data, *self._trained)
