"""What stands around the steps of ``fit``: parameter store, validation, devices, a first look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import Sampler
from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.group_weights import SUPER_GROUPS
from pyro_mlvae.estimators.pathwise import sample_sites
from pyro_mlvae.estimators.programs import Program, in_mode, module_of, modules_of

UNVALIDATED = {"validate_distributions_pyro": False, "validate_distributions_torch": False}
_UNSTRUCTURED = {"validate_poutine": False, "validate_infer": False}


def prepare(
    model: Program, guide: Program, *, device: torch.device | str | None, dtype: torch.dtype | None
) -> dict[str, nn.Module]:
    """Put the modules where they are trained, without gradients; "model" and "guide" by name.

    Raises:
        InputError: a parameter was made in inference mode.
    """
    named = {"model": module_of(model), "guide": module_of(guide)}
    modules = {name: module for name, module in named.items() if module is not None}
    for module in modules.values():
        if any(parameter.is_inference() for parameter in module.parameters()):
            raise InputError(
                "a parameter was made inside torch.inference_mode(), where nothing can be trained: "
                "build model and guide outside of it"
            )
        module.to(device=device, dtype=dtype)
        module.zero_grad()
    return modules


@contextmanager
def own_parameters(*programs: Program) -> Iterator[dict[str, Tensor]]:
    """A parameter store of one's own; the caller's keeps what belongs to no module.

    So two fits do not meet in Pyro's global store, and what ``pyro.param`` has made in a function
    is found in the caller's store after. Gives what that has before, by name, unconstrained.
    """
    store = pyro.get_param_store()
    own: Any = {}
    before = dict(store.named_parameters())
    try:
        with store.scope() as own:
            yield before
    finally:
        state: Any = store.get_state()
        of_modules = _of_modules(*programs)
        for name, parameter in own.get("params", {}).items():
            if id(parameter) not in of_modules:
                state["params"][name] = parameter
                state["constraints"][name] = own["constraints"][name]
        store.set_state(state)


def _of_modules(*programs: Program) -> set[int]:
    """The identities of the parameters that belong to the programs' modules."""
    return {id(parameter) for module in modules_of(*programs) for parameter in module.parameters()}


def look_at(
    model: Program,
    guide: Program,
    sampler: Sampler,
    place: dict[str, Any],
    before: dict[str, Tensor],
) -> bool:
    """Run a pair once, without a trace left behind: do groups of one super-group share a latent?

    What a function asks of the store goes on from what the caller's store has had before.
    """
    batch = next(iter(sampler.epoch(0)), None)
    if batch is None:
        return False
    batch = batch.to(**place)
    device = batch.x.device
    with (
        torch.no_grad(),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        in_mode(model, guide, training=False),
        pyro.settings.context(**UNVALIDATED),
        poutine.block(),
    ):
        guide_trace = poutine.trace(guide).get_trace(batch)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch)
    of_modules = _of_modules(model, guide)
    for name, parameter in pyro.get_param_store().named_parameters():
        known = before.get(name)
        if id(parameter) not in of_modules and known is not None and known.shape == parameter.shape:
            parameter.data.copy_(known.detach())
    return any(
        frame.name == SUPER_GROUPS
        for trace in (guide_trace, model_trace)
        for _, site in sample_sites(trace)
        for frame in site["cond_indep_stack"]
    )


@contextmanager
def validated_at_first() -> Iterator[Callable[[], None]]:
    """Gives a function to call after a step: what cannot change is checked once, then trusted.

    Until then Pyro's structure (sites, plates, shapes) is validated as the caller has it set.
    Distributions are not: the likelihood says whether it can take x, and no NaN reaches the
    weights.
    """
    before = {name: pyro.settings.get(name) for name in _UNSTRUCTURED}
    with pyro.settings.context(**UNVALIDATED, **before):
        yield lambda: pyro.settings.set(**_UNSTRUCTURED)


def on_place(batch: GroupedBatch, device: torch.device, dtype: torch.dtype | None) -> GroupedBatch:
    """The batch where the parameters are, and in their dtype."""
    if batch.x.device == device == batch.group.device and dtype in (None, batch.x.dtype):
        return batch
    if device.type == "cuda" and batch.x.device.type == "cpu":
        batch = batch.pinned()
    return batch.to(device, dtype)


def check_support(model: Program, batch: GroupedBatch) -> None:
    """Raise :class:`~pyro_mlvae.InputError` where the model's likelihood can give no value to x."""
    check = getattr(getattr(module_of(model), "likelihood", None), "check", None)
    if check is not None:
        check(batch.x)
