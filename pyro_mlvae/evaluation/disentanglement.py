r"""Whether each known factor has latent dimensions of its own: DCI and the mutual information gap.

Of a forest that predicts factor j from the locs of all latent dimensions, :math:`R_{ij}` is the
importance of dimension i. Disentanglement is 1 where each dimension serves one factor, completeness
where each factor is served by one dimension, and both are 0 where all serve all alike:

.. math:: D = \sum_i \frac{R_{i\cdot}}{R_{\cdot\cdot}} \big(1 - H_J(R_{i\cdot})\big), \qquad
    C = \frac{1}{J} \sum_j \big(1 - H_I(R_{\cdot j})\big)

with entropies of normalised rows and columns, to the base of their length. The gap of a factor v is
:math:`(I(z_{(1)}; v) - I(z_{(2)}; v)) / H(v)`, between the two dimensions that tell most of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pyro_mlvae.data import GroupedDataset
from pyro_mlvae.evaluation.factors import MOST_FITTED, has_the_factors_of, is_class
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import encode

_TREES = 50
# Codes and factors that are numbers are counted in so many bins, of equal width.
_BINS = 20


def disentanglement_metrics(
    guide: GroupedGuide, train: GroupedDataset, test: GroupedDataset, *, seed: int = 0
) -> dict[str, float] | None:
    """DCI and the mutual information gap of a guide's latent, on the known factors of style.

    Content and style are taken as one latent, whose dimensions are judged each by itself. A factor
    of several columns counts as several, and one that does not vary in both parts does not count.

    Args:
        guide: a guide, trained or not.
        train: observations on whose codes, or on those of 4,000, forests are fitted.
        test: other observations, on which they predict, and of which the gap is.
        seed: of forests, and of the choice among observations.

    Returns:
        ``disentanglement``, ``completeness``, ``informativeness`` (the mean over factors of R2, or
        of the accuracy where a factor is a class) and ``mutual_information_gap``. None where the
        parts do not know their style by the same factors, or fewer than two of them vary.

    References: Eastwood, Williams (2018), "A framework for the quantitative evaluation of
    disentangled representations"; Chen et al. (2018), arXiv 1802.04942.

    >>> from pyro_mlvae import MLPEncoder, ProductOfNormals, load_dataset
    >>> train, test = load_dataset("glyphs").sample(200, seed=0).split(0.5, seed=0)
    >>> guide = ProductOfNormals(MLPEncoder(train.event_shape, 2, 2))
    >>> sorted(disentanglement_metrics(guide, train, test))
    ['completeness', 'disentanglement', 'informativeness', 'mutual_information_gap']
    """
    some = train.sample(MOST_FITTED, seed=seed)
    factors = [*_varying(some, test)] if has_the_factors_of(some, test) else []
    if len(factors) < 2:
        return None
    codes, held_out = (encode(guide, part).loc.double().cpu().numpy() for part in (some, test))
    importances, scores, gaps = [], [], []
    for values, truth, classes in factors:
        forest = _forest(classes=classes, seed=seed)
        with threadpool_limits(1):
            forest.fit(codes, values)
            scores.append(forest.score(held_out, truth))
        importances.append(forest.feature_importances_)
        gaps.append(information_gap(held_out, truth if classes else _binned(truth)))
    disentanglement, completeness = of_importances(np.stack(importances, 1))
    return {
        "disentanglement": disentanglement,
        "completeness": completeness,
        "informativeness": float(np.mean(scores)),
        "mutual_information_gap": float(np.mean(gaps)),
    }


def of_importances(importance: np.ndarray) -> tuple[float, float]:
    """Disentanglement and completeness of importances ``[dimensions, factors]``, two or more each.

    >>> of_importances(np.array([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]]))
    (1.0, 1.0)
    """
    of_dimension, of_factor = importance.sum(1), importance.sum(0)
    weight = of_dimension / importance.sum()
    disentanglement = float(weight @ (1.0 - _entropy(importance)))
    completeness = float(np.mean(1.0 - _entropy(importance.T)[of_factor > 0]))
    return disentanglement, completeness


def information_gap(codes: np.ndarray, factor: np.ndarray) -> float:
    """How much more the best dimension tells of a factor than the second, of what there is to tell.

    Args:
        codes: ``[N, dimensions]``.
        factor: ``[N]``, whole numbers.
    """
    from sklearn.metrics import mutual_info_score

    told = sorted(mutual_info_score(_binned(code), factor) for code in codes.T)
    return float((told[-1] - told[-2]) / mutual_info_score(factor, factor))


def _entropy(rows: np.ndarray) -> np.ndarray:
    """Of each row, to the base of its length; that of a row of zeros is 1."""
    part = np.where(rows.sum(1, keepdims=True) > 0, rows, 1.0)
    part = part / part.sum(1, keepdims=True)
    nats = -(part * np.log(np.where(part > 0, part, 1.0))).sum(1)
    entropy: np.ndarray = nats / np.log(rows.shape[1])
    return entropy


def _binned(values: np.ndarray) -> np.ndarray:
    return np.digitize(values, np.linspace(values.min(), values.max(), _BINS + 1)[1:-1])


def _varying(train: Any, test: Any) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """The columns of factors in both parts, and whether they are classes, where they vary."""
    for name, value in train.style_factors.items():
        of_parts = (data.style_factors[name].reshape(len(data), -1).cpu() for data in (train, test))
        for known, truth in zip(*(columns.numpy().T for columns in of_parts), strict=True):
            if np.ptp(known) and np.ptp(truth):
                yield known, truth, is_class(value)


def _forest(*, classes: bool, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if classes else RandomForestRegressor
    # Every split sees all dimensions, else some use one that tells nothing.
    return kind(_TREES, min_samples_leaf=5, max_features=None, random_state=seed)
