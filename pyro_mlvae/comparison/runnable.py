"""Which estimators a pair can be compared with: some need what not every model and guide has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import nn

from pyro_mlvae.comparison.cases import Case
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError


def runnable(
    cases: Sequence[Case], model: nn.Module, guide: nn.Module, batch: GroupedBatch
) -> tuple[list[Case], list[dict[str, Any]]]:
    """The cases that take this pair, and for each of the others ``estimator`` and ``why`` it does not.

    Raises:
        InputError: none of them does.
    """
    kept: list[Case] = []
    refused: dict[str, str] = {}
    devices = [batch.x.device] if batch.x.device.type == "cuda" else []
    for case in cases:
        with torch.random.fork_rng(devices), pyro.get_param_store().scope():
            try:
                case.make().loss(model, guide, batch)  # type: ignore[attr-defined]
            except InputError as error:
                refused[case.name] = str(error)
            else:
                kept.append(case)
    if not kept:
        raise InputError(f"none of the estimators takes this pair: {next(iter(refused.values()))}")
    return kept, [{"estimator": name, "why": why} for name, why in refused.items()]
