"""The best weights of a run so far, kept beside those that are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyro
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Best:
    """The weights that were best on the validation batch.

    Attributes:
        value: their objective there, in nats per observation.
        steps: after how many steps they were reached.
        since: how many measurements came after them, none of which was better.
        weights: by name, detached copies.
    """

    value: float
    steps: int
    since: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)


def better(best: Best | None, value: float, steps: int, modules: Mapping[str, nn.Module]) -> Best:
    """The best weights, after a measurement of the present ones."""
    if best is not None and value <= best.value:
        return replace(best, since=best.since + 1)
    weights = {name: tensor.detach().clone() for name, tensor in _weights(modules).items()}
    return Best(value, steps, weights=weights)


def take_back(best: Best, modules: Mapping[str, nn.Module]) -> None:
    """Give modules, and what functions have made with ``pyro.param``, the best weights again."""
    with torch.no_grad():
        for name, tensor in _weights(modules).items():
            tensor.copy_(best.weights[name])


def _weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Whatever training changes, by name; inside the scope of the parameter store."""
    of_modules = {id(p) for module in modules.values() for p in module.parameters()}
    weights = {
        f"{kind}.{name}": tensor
        for kind, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    return weights | {
        f"param.{name}": parameter
        for name, parameter in pyro.get_param_store().named_parameters()
        if id(parameter) not in of_modules
    }
