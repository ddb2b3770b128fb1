"""Data that a model draws by itself, together with the latents that they were made of."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.poutine.trace_struct import Trace
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch, check_observations
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.likelihoods.counts import CountsGivenTotal


def simulate(model: Program, batch: GroupedBatch) -> tuple[Trace, GroupedBatch]:
    """One draw of everything from the model, in the groups of ``batch``.

    Returns:
        The trace of the model, which has the latents, and the batch with the x that was drawn:
        missing where that of the batch is.

    Raises:
        InputError: the model has no observed site "x", or takes totals as given, which it cannot
            draw; or x cannot be drawn, is not finite, or is not of the shape of the batch's.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal()
    >>> trace, drawn = simulate(LinearGaussianModel(solved), solved.sample(torch.tensor([2, 3])))
    >>> drawn.x.shape, trace.nodes["content"]["value"].shape
    (torch.Size([5, 16]), torch.Size([2, 3]))
    """
    try:
        trace = poutine.trace(poutine.uncondition(model)).get_trace(batch)
    except NotImplementedError as error:
        raise InputError(
            f"model must be able to draw x and its latents, but a distribution has no sample(): "
            f"define it ({error!r})"
        ) from error
    node: Any = trace.nodes.get("x")
    if node is None or "was_observed" not in node["infer"]:
        raise InputError(
            f"model must observe x at the site 'x', got the sites "
            f"{[n for n, _ in sample_sites(trace)]}: take a model that observes x at one site of "
            "that name, with obs=batch.x"
        )
    observed = node["fn"]
    while hasattr(observed, "base_dist"):
        observed = observed.base_dist
    if isinstance(observed, CountsGivenTotal):
        raise InputError(
            "model must say where all of x comes from, but with library_size it takes the total of "
            "each observation as given: leave library_size out, or do without data that the model "
            "draws"
        )
    x: Tensor = node["value"]
    if x.shape != batch.x.shape:
        raise InputError(
            f"model must draw x in the shape of the batch's, expected {list(batch.x.shape)}, got "
            f"{list(x.shape)}: build it for data of that shape"
        )
    check_observations(x)
    x = x.masked_fill(batch.x.isnan(), torch.nan)
    return trace, batch.with_tensors({**batch.tensors(), "x": x})
