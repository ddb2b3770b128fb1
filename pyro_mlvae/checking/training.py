"""Whether a pair can be trained: densities that are finite, parameters that a gradient reaches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_mlvae.checking.pair import Pair
from pyro_mlvae.checking.structure import listed
from pyro_mlvae.data.batch import GroupedBatch

_PARAMETER_FAULTS = {
    "shadowed": "would never be trained, as model and guide have different parameters of one "
    "name: name their modules apart with PyroModule.__init__(name=...), or rename the attribute "
    "in one of them",
    "unused": "would never be trained, as no gradient reaches it: use it, detach nothing "
    "computed from it, or make it a buffer",
    "unknown": "would never be trained, as Pyro does not know of it: make its module a PyroModule",
    "not finite": "must have a finite gradient, got NaN or infinity: look for a division by 0, "
    "or a root or logarithm of 0",
}


def density_faults(pair: Pair, batch: GroupedBatch, draws: dict[str, Tensor]) -> Iterator[str]:
    """Log densities that are NaN or infinite."""
    for kind in pair.programs:
        densities = pair.densities(kind, batch, draws)
        bad = [name for name, density in densities.items() if not density.isfinite().all()]
        if bad:
            yield (
                f"the {kind}'s log density must be finite, got NaN or infinity at {listed(bad)}: "
                "keep scales positive, and draws where the density is defined"
            )
            return  # what the guide draws there has no density in the model either


def parameter_faults(pair: Pair, batch: GroupedBatch) -> Iterator[str]:
    """Parameters that would never be trained, or whose gradient is NaN or infinite."""
    with pair.run("the loss", batch):
        loss = Trace_ELBO().differentiable_loss(
            pair.programs["model"], pair.programs["guide"], batch
        )
        stored = {id(p): (name, p) for name, p in pyro.get_param_store().named_parameters()}
        known = {id(p) for parameters in pair.parameters.values() for p in parameters.values()}
        functions = {name: p for key, (name, p) in stored.items() if key not in known}
        owners: dict[str, Mapping[str, Tensor]] = {**pair.parameters, "store": functions}
        live = {
            (kind, name): p
            for kind, parameters in owners.items()
            for name, p in parameters.items()
            if p.requires_grad
        }
        gradients: tuple[Any, ...] = (None,) * len(live)
        if live and loss.requires_grad:
            gradients = torch.autograd.grad(loss, list(live.values()), allow_unused=True)
    faults: dict[tuple[str, str], list[str]] = {}
    for ((kind, name), p), gradient in zip(live.items(), gradients, strict=True):
        namesakes = [
            parameters[name] for parameters in pair.parameters.values() if name in parameters
        ]
        if id(p) not in stored and any(id(namesake) in stored for namesake in namesakes):
            fault = "shadowed"
        elif gradient is None:
            fault = "unused"
        elif id(p) not in stored:
            fault = "unknown"
        elif not gradient.isfinite().all():
            fault = "not finite"
        else:
            continue
        faults.setdefault((kind, fault), []).append(name.removesuffix("_unconstrained"))
    for (kind, fault), names in faults.items():
        yield f"the {kind}'s parameter {listed(names)} {_PARAMETER_FAULTS[fault]}"
