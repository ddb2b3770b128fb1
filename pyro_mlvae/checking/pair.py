"""A model and a guide that can be run again and again, from one state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.pathwise import pin, sample_sites
from pyro_mlvae.estimators.programs import Program, module_of

Sites = dict[str, Any]  # the sample sites of a program, by name


class CannotRunError(Exception):
    """A fault that ends a run; its message is the sentence."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an exception into :class:`CannotRunError`, whose sentence begins with ``what``."""
    try:
        yield
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), "no message")
        hint = (
            ": declare the dimensions of one event with .to_event"
            if "inside plate" in first
            else ""
        )
        raise CannotRunError(f"{what} raises {type(error).__name__}: {first}{hint}") from error


class Pair:
    """Model and guide, which every run finds, and leaves, in the state in which they came."""

    def __init__(self, model: Program, guide: Program, seed: int) -> None:
        # The guide first, as in training: of two parameters of one name, Pyro keeps the first.
        self.programs = {"guide": guide, "model": model}
        modules = {
            kind: module
            for kind, program in self.programs.items()
            if (module := module_of(program)) is not None
        }
        self.parameters = {
            kind: dict(module.named_parameters()) for kind, module in modules.items()
        }
        self._parts = [part for module in modules.values() for part in module.modules()]
        self._seed = seed

    @contextmanager
    def run(self, what: str, batch: GroupedBatch) -> Iterator[None]:
        """What follows starts from the pair's state; ``what`` begins the sentence if it raises."""
        # Parameters too: Pyro puts the store's in the place of a PyroParam of the same name.
        slots: list[Any] = [s for part in self._parts for s in (part._parameters, part._buffers)]
        held = [dict(slot) for slot in slots]
        buffers = [(b, b.clone()) for part in self._parts for b in part.buffers(recurse=False)]
        device = batch.x.device
        try:
            with explained(what), torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch.manual_seed(self._seed)
                yield
        finally:
            for slot, contents in zip(slots, held, strict=True):
                slot.update(contents)
            for buffer, value in buffers:
                if not torch.equal(buffer, value):
                    buffer.detach().copy_(value)

    def sites(self, kind: str, batch: GroupedBatch, draws: Mapping[str, Tensor]) -> Sites:
        """The sites of the model or the guide, run with ``draws`` pinned."""
        with self.run(f"the {kind}", batch):
            return dict(
                sample_sites(poutine.trace(pin(self.programs[kind], draws)).get_trace(batch))
            )

    def densities(
        self, kind: str, batch: GroupedBatch, draws: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The log density of each site, likewise; masks count, scales do not."""
        densities = {}
        for name, site in self.sites(kind, batch, draws).items():
            with explained(f"the density of the {kind}'s site {name!r}"):
                density = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
                densities[name] = scale_and_mask(density, 1.0, site["mask"]).detach()
        return densities
