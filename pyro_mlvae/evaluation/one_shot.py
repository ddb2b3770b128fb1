"""The official Omniglot one-shot test: 20 runs of 20 trials, each a choice among 20 new characters.

The error of a guide stands beside that of two controls which learn nothing: the nearest pixels, and
the modified Hausdorff distance, with which the test's own demonstration code scores 38.8 %.

Reference: Lake, Salakhutdinov, Tenenbaum (2015), Science 350, 1332-1338.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.data.one_shot import OneShotTrials
from pyro_mlvae.evaluation.few_shot import Score, distance_score, posterior_score
from pyro_mlvae.evaluation.predictive import decoder_score
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.latents.encoding import encode, experts
from pyro_mlvae.models import MLVAE


def one_shot_metrics(
    guide: GroupedGuide,
    trials: OneShotTrials,
    *,
    model: MLVAE | None = None,
    samples: int = 20,
    seed: int = 0,
) -> dict[str, Any]:
    """The error of a trained guide on the one-shot test, and of the controls.

    Args:
        guide: the trained guide.
        trials: the test, from :func:`load_one_shot` with the size and the ink of the training data.
        model: the trained model; with it, trials are scored by the decoder as well.
        samples: draws of the decoder's score for every pair of drawings.
        seed: of these draws.

    Returns:
        ``trials``, ``ways`` and ``chance`` (an error too), and under ``posterior``, ``decoder``
        (None without a model), ``pixels`` and ``hausdorff`` what :func:`one_shot_error` finds.

    Raises:
        InputError: the drawings are not of the shape that the guide was trained on.
    """
    ways = trials.given.shape[1]
    by_decoder = None
    if model is not None:
        by_decoder = decoder_score(model, guide, trials.data, samples=samples, seed=seed)
    scores = {
        "posterior": posterior_score(experts(guide, encode(guide, trials.data))),
        "decoder": by_decoder,
        "pixels": distance_score(trials.data.observations()),
        "hausdorff": hausdorff_score(trials.ink),
    }
    return {
        "trials": trials.answer.numel(),
        "ways": ways,
        "chance": 1.0 - 1.0 / ways,
        **{name: score and one_shot_error(score, trials) for name, score in scores.items()},
    }


def one_shot_error(score: Score, trials: OneShotTrials) -> dict[str, float]:
    """The fraction of trials in which the drawing that scores highest is not the right one.

    Args:
        score: such as :func:`hausdorff_score`, or any score of few-shot classification.
        trials: the test.

    Returns:
        ``{"error": ..., "standard_error": ...}``, the latter that of a mean over runs, because
        trials of one run share their characters; NaN for a single run.
    """
    chosen = torch.cat(
        [
            score(query, given).argmax(-1).cpu()
            for query, given in zip(trials.query.split(1), trials.given.split(1), strict=True)
        ]
    )
    per_run = (chosen != trials.answer).double().mean(-1)
    error = float(per_run.std()) / math.sqrt(len(per_run)) if len(per_run) > 1 else math.nan
    return {"error": float(per_run.mean()), "standard_error": error}


def hausdorff_score(ink: Sequence[Float[Tensor, "_ 2"]]) -> Score:
    """A control: minus the :func:`modified_hausdorff` distance to the nearest shot of a group.

    Args:
        ink: the points of each observation.

    >>> at = [torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 3.0]])]
    >>> hausdorff_score(at)(torch.tensor([0]), torch.tensor([[1], [2]]))
    tensor([[-1., -3.]])
    """

    def score(query: Tensor, given: Tensor) -> Tensor:
        shape = (*query.shape, given.shape[-2])
        query = query.unsqueeze(-1).expand(shape).flatten()
        given = given.unsqueeze(-3).expand(*shape, -1).flatten(0, -2)
        nearest = [
            torch.stack([modified_hausdorff(ink[q], ink[i]) for i in shots]).amin()
            for q, shots in zip(query.tolist(), given.tolist(), strict=True)
        ]
        return -torch.stack(nearest).reshape(shape)

    return score


def modified_hausdorff(
    one: Float[Tensor, "points 2"], other: Float[Tensor, "points2 2"]
) -> Float[Tensor, ""]:
    r"""The distance of two sets of points: how far a point is, on average, from the other set.

    .. math:: \max\Big(\frac{1}{|A|} \sum_{a \in A} \min_{b \in B} \lVert a - b \rVert, \;
        \frac{1}{|B|} \sum_{b \in B} \min_{a \in A} \lVert a - b \rVert\Big)

    Reference: Dubuisson, Jain (1994), International Conference on Pattern Recognition.

    >>> line = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> modified_hausdorff(line, line[:1])
    tensor(1.)
    """
    distance = torch.cdist(one, other)
    return torch.maximum(distance.amin(1).mean(), distance.amin(0).mean())
