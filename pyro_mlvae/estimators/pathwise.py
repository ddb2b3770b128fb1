"""The base of our estimators: one pass of guide and model with reparameterised draws."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from pyro.poutine.messenger import Messenger
from pyro.poutine.trace_struct import Trace
from pyro.poutine.util import site_is_subsample
from pyro.util import check_model_guide_match, warn_if_nan
from torch import Tensor

from pyro_mlvae.errors import InputError
from pyro_mlvae.estimators.programs import Program
from pyro_mlvae.guides.random_part import RandomPart


class PathwiseELBO(ELBO):
    """An estimator that is a differentiable function of reparameterised draws.

    It is used as any of Pyro's, by ``SVI`` or ``fit``, and offers ``differentiable_loss`` as well.
    Scales and masks that handlers put on model and guide are honoured. A subclass defines
    :meth:`differentiable_loss`; its gradient need not be that of its value.

    The guide may be run more than once for the same draws, so it must be a function of them: what
    is random beside its sites, such as dropout, would differ between the runs.
    """

    # Whether the guide's densities hold its parameters constant: its gradient is then that of the
    # path through the draws alone.
    _freezes_guide: ClassVar[bool] = False

    @abstractmethod
    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the estimate, a scalar whose backward pass leaves the estimator's gradient."""

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Minus the estimate, without a gradient."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Minus the estimate; its gradient is added to the parameters'."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        value: Any = loss.item()
        warn_if_nan(value, "loss")
        return value

    def _get_trace(
        self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, Trace]:
        """The model run against the guide's draws, and the guide, both with log probabilities."""
        drawn, draws = self._draw(guide, args, kwargs)
        # With the draws, what was chosen: a subsample, or part, is the same in every run.
        chosen: dict[str, Any] = {
            name: site["value"] for name, site in drawn.nodes.items() if _is_choice(site)
        }
        inputs = chosen | self._inputs(draws, drawn, *args)
        guide_trace = drawn
        if self._freezes_guide:
            with frozen_parameters(draws.values()):
                guide_trace = poutine.trace(pin(guide, inputs)).get_trace(*args, **kwargs)
        model_trace = poutine.trace(pin(model, inputs)).get_trace(*args, **kwargs)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
        model_trace.compute_log_prob()
        guide_trace.compute_log_prob()
        # Where parameters are held constant, the path to them is in the first run.
        guide_trace.drawn = drawn  # type: ignore[attr-defined]
        return model_trace, guide_trace

    def _draw(
        self, guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Trace, dict[str, Tensor]]:
        """The guide run once, and its draws by site."""
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        return drawn, reparameterised(type(self).__name__, drawn)

    def _inputs(
        self, draws: dict[str, Tensor], guide_trace: Trace, *args: Any
    ) -> dict[str, Tensor]:
        """What the densities are evaluated at: the draws."""
        return draws


class _PinMessenger(Messenger):
    """Gives the named sites values instead of drawing them."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._values and not msg["is_observed"]:
            msg["value"] = self._values[msg["name"]]
            msg["done"] = True


def pin(program: Program, values: Mapping[str, Tensor]) -> Program:
    """``program`` with the named sites pinned to values, through which gradients flow."""
    return _PinMessenger(values)(program)


def sample_sites(trace: Trace) -> Iterator[tuple[str, Any]]:
    """Name and node of every sample site, but for those of plates and of a random part."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not _is_choice(site):
            yield name, site


def _is_choice(site: Any) -> bool:
    return site_is_subsample(site) or (
        site["type"] == "sample" and isinstance(site["fn"], RandomPart)
    )


def reparameterised(estimator: str, guide_trace: Trace) -> dict[str, Tensor]:
    """The guide's draws by site.

    Raises:
        InputError: a draw has no gradient with respect to its distribution's parameters.
    """
    draws = {}
    for name, site in sample_sites(guide_trace):
        if site["is_observed"]:
            continue
        if not site["fn"].has_rsample:
            kind = type(getattr(site["fn"], "base_dist", site["fn"])).__name__
            raise InputError(
                f"{estimator} needs reparameterised draws, but the guide's site {name!r} is "
                f"{kind}, which has none: use the estimator 'trace' or 'graph', or marginalise it"
            )
        draws[name] = site["value"]
    return draws


def common_scale(*traces: Trace) -> Any:
    """The scale that handlers put on every site alike.

    Raises:
        InputError: sites have different scales, so that no bound of a group can be scaled as one.
    """
    scales = {name: site["scale"] for trace in traces for name, site in sample_sites(trace)}
    first = next(iter(scales.values()), 1.0)
    for name, scale in scales.items():
        if scale is not first and not bool(torch.as_tensor(scale == first).all()):
            raise InputError(
                f"sites must all have one scale, got {scale} at {name!r} and {first} at "
                f"{next(iter(scales))!r}: put poutine.scale on model and guide as a whole, and "
                f"subsample nothing by pyro.plate"
            )
    return first


@contextmanager
def frozen_parameters(draws: Iterable[Tensor]) -> Iterator[None]:
    """Run what follows as if the parameters from which ``draws`` were made were constants.

    Draws keep their path to the parameters: where style is drawn given content, its density still
    moves with content. Autograd's graph says which parameters they are, so it does not matter
    whether Pyro's store has them.
    """
    live = list(_leaves(draws))
    for leaf in live:
        leaf.requires_grad_(False)
    try:
        with warnings.catch_warnings():
            # Pyro's way to say that a frozen parameter will not be trained, which is the purpose.
            warnings.filterwarnings("ignore", ".*was not registered in the param store")
            yield
    finally:
        for leaf in live:
            leaf.requires_grad_(True)


def _leaves(outputs: Iterable[Tensor]) -> Iterator[Tensor]:
    """The leaves of autograd's graph of ``outputs``, each once."""
    pending: list[Any] = [output.grad_fn for output in outputs]
    seen: set[Any] = {None}
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        pending += [following for following, _ in node.next_functions]
