r"""How well codes predict what style was made from: the turn of a drawing, its size, its place.

A regressor is trained on codes of training observations and tested on others. Of each factor it
gets

.. math:: R^2 = 1 - \frac{\sum_i \lVert \hat f_i - f_i \rVert^2}{\sum_i \lVert f_i - \bar f
\rVert^2}

over all its columns: 1 where the code tells the factor, 0 where it tells nothing, and below where
it misleads, as it may on groups that training never saw. Style should tell factors, and content
should not. Of either, ``draws`` are what the decoder gets; ``loc`` may hold what their noise
drowns, and that of an untrained encoder is a projection of x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.evaluation.classifiers import FOLDS
from pyro_mlvae.evaluation.probe import style_codes
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import encode
from pyro_mlvae.ops import mean_of

LINEAR, KERNEL = KINDS = ("ridge", "kernel-ridge")
# Regressors are fitted to so many training codes at most.
MOST_FITTED = 4_000
# Training codes of which kernels are taken (Nystroem's approximation).
_CENTRES = 300
_PENALTIES = tuple(10.0**power for power in range(-3, 4))


@runtime_checkable
class KnowsStyle(Protocol):
    """Data that knows what the style of each of its observations was made from."""

    @property
    def style_factors(self) -> Mapping[str, Tensor]:
        """By name, numbers ``[N]`` or ``[N, k]``, or classes, int64 ``[N]``."""


def factor_metrics(
    guide: GroupedGuide,
    train: GroupedDataset,
    tests: Mapping[str, GroupedDataset | None],
    *,
    whole: bool = False,
    seed: int = 0,
) -> dict[str, Any] | None:
    """R2 of every known factor of style, predicted from style and from content of one observation.

    Args:
        guide: a guide, trained or not.
        train: observations on whose codes, or on those of 4,000, regressors are chosen and fitted.
        tests: other observations by name, such as those of seen and of unseen groups. None, and
            data with other factors than ``train``, is not measured.
        whole: whether content and style are predicted from together, too, as ``latent``: of a VAE,
            whose parts have no roles.
        seed: of draws and folds.

    Returns:
        ``regressor``, which kind cross-validation chose for each code, as text; and by the name of
        each test ``{"style": {"draws": R2, "loc": R2}, "content": {"draws": R2, "loc": R2}}``, or
        None where it is not measured. Each R2 is a mapping from the name of the factor; ``mean`` is
        over those that are numbers, not classes. A factor that does not vary in a test is None.
        None in all where the data does not know its style.
    """
    if not isinstance(train, KnowsStyle) or len(train) < FOLDS:
        return None
    some: Any = train.sample(MOST_FITTED, seed=seed)
    classes = {
        name: value.unique() for name, value in some.style_factors.items() if is_class(value)
    }
    target = np.concatenate(list(_columns(some, classes).values()), 1)
    codes = _codes(guide, some, mixed_seed(seed, 0), whole=whole)
    chosen = {name: _choose(code, target, seed) for name, code in codes.items()}
    kinds = ", ".join(f"{name}: {kind}" for name, (kind, _) in chosen.items())
    found: dict[str, Any] = {"regressor": kinds, **dict.fromkeys(tests)}
    for part, test in tests.items():
        if test is not None and has_the_factors_of(some, test):
            held_out = _codes(guide, test, mixed_seed(seed, 1), whole=whole)
            truth = _columns(test, classes)
            of = {
                name: _r2(truth, f.predict(held_out[name]), classes)
                for name, (_, f) in chosen.items()
            }
            parts = {
                code: {way: of.pop(f"{code} {way}") for way in ("draws", "loc")}
                for code in ("style", "content")
            }
            found[part] = {**parts, **of}
    return found


def is_class(value: Tensor) -> bool:
    """Whether a factor is a class, not a number."""
    return not value.is_floating_point()


def has_the_factors_of(train: GroupedDataset, test: GroupedDataset) -> bool:
    """Whether both data sets know their style, by the same factors."""
    if not (isinstance(train, KnowsStyle) and isinstance(test, KnowsStyle)):
        return False
    widths, others = (
        {name: value.shape[1:] for name, value in data.style_factors.items()}
        for data in (train, test)
    )
    return widths == others


def _columns(data: Any, classes: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """What is predicted, by factor, ``[N, columns]``: a class has a column a value."""
    return {
        name: (value[:, None] == classes[name] if name in classes else value.reshape(len(data), -1))
        .double()
        .cpu()
        .numpy()
        for name, value in data.style_factors.items()
    }


def _codes(
    guide: GroupedGuide, data: GroupedDataset, seed: int, *, whole: bool
) -> dict[str, np.ndarray]:
    """What factors are predicted from, by name."""
    codes = encode(guide, data)
    style, content = style_codes(codes, seed=seed), mean_of(codes.content)
    with torch.random.fork_rng([content.device] if content.device.type == "cuda" else []):
        torch.manual_seed(mixed_seed(seed, 1))
        drawn = codes.content.sample()
    found = {
        "style draws": style["draws"],
        "style loc": style["loc"],
        "content draws": drawn,
        "content loc": content,
    }
    if whole:
        found["latent"] = codes.loc
    return {name: code.double().cpu().numpy() for name, code in found.items()}


def _choose(code: np.ndarray, target: np.ndarray, seed: int) -> tuple[str, Any]:
    """The kind of regressor that predicts held-out folds best, fitted to all of the codes."""
    from sklearn.model_selection import KFold, cross_val_score

    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):
        r2 = {
            kind: cross_val_score(_regressor(kind, code, seed), code, target, cv=folds).mean()
            for kind in KINDS
        }
        # Of equals the simplest.
        best = max(KINDS, key=lambda kind: r2[kind])
        return best, _regressor(best, code, seed).fit(code, target)


def _regressor(kind: str, code: np.ndarray, seed: int) -> Any:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ridge = RidgeCV(_PENALTIES, alpha_per_target=True)
    if kind == LINEAR:
        return make_pipeline(StandardScaler(), ridge)
    # Of a fold's codes, which are fewer.
    centres = min(_CENTRES, len(code) // 2)
    kernels = Nystroem(gamma=0.5 / code.shape[1], n_components=centres, random_state=seed)
    return make_pipeline(StandardScaler(), kernels, StandardScaler(), ridge)


def _r2(
    truth: Mapping[str, np.ndarray], predicted: np.ndarray, classes: Mapping[str, Tensor]
) -> dict[str, float | None]:
    """By factor, and the mean over those that are numbers."""
    widths = np.cumsum([columns.shape[1] for columns in truth.values()])
    found: dict[str, float | None] = {}
    for (name, true), guess in zip(
        truth.items(), np.split(predicted, widths[:-1], axis=1), strict=True
    ):
        spread = np.square(true - true.mean(0)).sum()
        found[name] = float(1.0 - np.square(guess - true).sum() / spread) if spread > 0.0 else None
    numbers = [value for name, value in found.items() if name not in classes and value is not None]
    return {**found, "mean": sum(numbers) / len(numbers) if numbers else None}
