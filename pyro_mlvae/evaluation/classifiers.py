"""The classifier of a probe: of several kinds the one that reads held-out folds of the codes best.

- ``linear``: logistic regression;
- ``hidden-layer``: one hidden layer of 256;
- ``gaussian-svm``: a support vector machine with a Gaussian kernel, of at most 4,000 of the codes,
  with Platt's probabilities.

Of more than 50 labels these take minutes, and there are two kinds in closed form instead:

- ``discriminant``: linear discriminant analysis;
- ``gaussian-discriminant``: the same of up to 256 features of a Gaussian kernel (Nystroem's
method).

The accuracy of any one kind is a lower bound on what can be read off a code, and which kind reads
best differs from code to code. A control is only fair where it gets its best reader too: so every
code, of a trained model, a VAE or an untrained encoder, goes through the same choice on the same
folds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pyro_mlvae.errors import InputError

FOLDS = 3
LINEAR, HIDDEN_LAYER, GAUSSIAN_SVM = KINDS = ("linear", "hidden-layer", "gaussian-svm")
DISCRIMINANT, GAUSSIAN_DISCRIMINANT = CLOSED_FORM = ("discriminant", "gaussian-discriminant")
# The cost of iterations grows with the labels, that of a support vector machine with their square.
MOST_ITERATED = 50
# Its cost grows with the square of the codes.
_MOST_CODES_OF_SVM = 4_000
_KERNEL_FEATURES = 256
# So many codes are shown to a hidden layer in training: many epochs of few codes, few of many.
_MOST_VISITS = 600_000

Fold = tuple[np.ndarray, np.ndarray]


def choose_classifier(
    codes: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int = 0
) -> tuple[str, Any]:
    """Choose a kind of classifier by cross-validation, and fit it to all of the codes.

    Args:
        codes: training codes, ``[N, dim]``; they are standardised.
        labels: the label of each, ``[N]``.
        groups: the group of each, ``[N]``. Where labels are those of larger units than groups (all
            observations of a group have its label, and some labels have several groups), no group
            is on both sides of a fold.
        seed: of the folds and of the classifiers.

    Returns:
        The kind, and a fitted scikit-learn classifier with ``predict_proba`` and ``classes_``.

    Raises:
        InputError: there are fewer than two labels, or fewer observations than folds.

    >>> codes = np.repeat(np.eye(3), 9, axis=0)
    >>> labels = codes.argmax(1)
    >>> kind, classifier = choose_classifier(codes, labels, labels)
    >>> kind, classifier.score(codes, labels)
    ('linear', 1.0)
    """
    require_readable(labels)
    with _quietly():
        folds = _folds(codes, labels, groups, seed)
        accuracy = {
            kind: np.mean([_accuracy(kind, codes, labels, fold, seed) for fold in folds])
            for kind in _possible(labels)
        }
        # Of equals the simplest.
        best = max(accuracy, key=lambda kind: accuracy[kind])
        return best, _fitted(best, codes, labels, seed, calibrated=True)


def require_readable(labels: np.ndarray) -> None:
    """Raise :class:`InputError` where no classifier could be chosen by cross-validation."""
    _, count = np.unique(labels, return_counts=True)
    if len(count) < 2:
        raise InputError(
            f"labels must hold at least two distinct ones, got {len(count)} in {len(labels)} "
            f"observation(s): train the probe on data of several labels, or do without it"
        )
    if count.max() < FOLDS:
        raise InputError(
            f"a probe is chosen by {FOLDS}-fold cross-validation, so some label must have at least "
            f"{FOLDS} training observations, got at most {count.max()} of each in {len(labels)}: "
            f"take more observations of each label, or do without the probe"
        )


def _folds(codes: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> list[Fold]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    names = np.unique(labels)
    pairs = len(np.unique(np.stack([groups, labels]), axis=1).T)
    if pairs == len(np.unique(groups)) > len(names):
        whole = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        folds = list(whole.split(codes, labels, groups))
        # A label whose groups are all on one side would be read by nothing.
        if all(len(test) and len(np.unique(labels[train])) == len(names) for train, test in folds):
            return folds
    apart = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(codes, labels)
    return [fold for fold in apart if len(np.unique(labels[fold[0]])) > 1]


def _possible(labels: np.ndarray) -> tuple[str, ...]:
    _, count = np.unique(labels, return_counts=True)
    if len(count) > MOST_ITERATED:
        return CLOSED_FORM
    # Platt's probabilities take cross-validation of their own, for which a label must not be rare.
    share = min(1.0, _MOST_CODES_OF_SVM / len(labels))
    return KINDS if count.min() * share >= 3 * FOLDS else KINDS[:2]


def _accuracy(kind: str, codes: np.ndarray, labels: np.ndarray, fold: Fold, seed: int) -> float:
    train, test = fold
    return float(_fitted(kind, codes[train], labels[train], seed).score(codes[test], labels[test]))


def _fitted(
    kind: str, codes: np.ndarray, labels: np.ndarray, seed: int, *, calibrated: bool = False
) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    steps: list[Any] = [StandardScaler()]
    classifier: Any
    if kind in CLOSED_FORM:
        classifier = LinearDiscriminantAnalysis()
        if kind == GAUSSIAN_DISCRIMINANT:
            # Fewer of few codes, of which a covariance is estimated.
            features = min(_KERNEL_FEATURES, -(-len(codes) // 10))
            steps += [Nystroem(n_components=features, random_state=seed)]
    elif kind == LINEAR:
        classifier = LogisticRegression(max_iter=1000)
    elif kind == HIDDEN_LAYER:
        epochs = min(max(_MOST_VISITS // len(codes), 5), 30)
        classifier = MLPClassifier(
            (256,), alpha=1e-3, learning_rate_init=5e-3, max_iter=epochs, random_state=seed
        )
    else:
        some = np.random.default_rng(seed).permutation(len(codes))[:_MOST_CODES_OF_SVM]
        codes, labels = codes[some], labels[some]
        classifier = SVC()
        if calibrated:
            classifier = CalibratedClassifierCV(classifier, ensemble=False, cv=FOLDS)
    return make_pipeline(*steps, classifier).fit(codes, labels)


@contextmanager
def _quietly() -> Iterator[None]:
    from sklearn.exceptions import ConvergenceWarning

    # Its matrices are far too small for threads, which only get into each other's way.
    with threadpool_limits(1), warnings.catch_warnings():
        # Stopping after a fixed number of epochs is the definition here, not a failure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield
