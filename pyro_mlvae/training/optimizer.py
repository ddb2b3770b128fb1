"""One optimiser over all the parameters, where Pyro makes one for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor

# Settings of an optimiser that say which parameters are its own, and by which kernels it steps.
_OWN = ("params", "fused", "foreach")


class JointOptim(PyroOptim):
    """A PyroOptim that is one optimiser of PyTorch's, over all parameters of model and guide.

    So a step is one call, of a fused kernel where the optimiser has one, and gradients are dropped
    after it instead of being filled with zeros.

    Args:
        optim_constructor: a class of ``torch.optim``.
        optim_args: its settings; or a function from a parameter's name to its settings.

    Its state is kept parameter by parameter, as any PyroOptim's is.

    >>> optimizer = JointOptim(torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01})
    """

    def __init__(self, optim_constructor: Any, optim_args: Any) -> None:
        super().__init__(optim_constructor, optim_args)
        self._optimizer: torch.optim.Optimizer | None = None
        self._names: dict[Tensor, str] = {}  # in the order in which the optimiser counts them

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Make a step on ``params``, which are those of the model and the guide."""
        params = tuple(params)
        if not all(parameter in self._names for parameter in params):
            self._add([parameter for parameter in params if parameter not in self._names])
        assert self._optimizer is not None
        self._optimizer.step(*args, **kwargs)
        for parameter in params:
            parameter.grad = None

    def _add(self, params: Iterable[Tensor]) -> None:
        """Take parameters over that were not seen before, in the order of their names."""
        store = pyro.get_param_store()
        named: dict[Any, Tensor] = {store.param_name(parameter): parameter for parameter in params}
        named = dict(sorted(named.items()))
        # With settings of their own, they are a group each.
        parts = [[name] for name in named] if callable(self.pt_optim_args) else [list(named)]
        for part in parts:
            group = {
                "params": [named[name] for name in part],
                **self._get_optim_args(named[part[0]]),
            }
            if self._optimizer is None:
                construct: Any = self.pt_optim_constructor
                self._optimizer = construct([group])
            else:
                self._optimizer.add_param_group(group)
            self._names |= {named[name]: name for name in part}
        self._restore()

    def _restore(self) -> None:
        """Give the optimiser what is waiting for its parameters."""
        waiting: Mapping[str, Any] = self._state_waiting_to_be_consumed
        assert self._optimizer is not None
        whole = self._optimizer.state_dict()
        names = list(self._names.values())
        for group in whole["param_groups"]:
            for index in group["params"]:
                if (own := waiting.pop(names[index], None)) is not None:  # type: ignore[attr-defined]
                    whole["state"].update(zip([index], own["state"].values(), strict=False))
                    settings = own["param_groups"][0].items()
                    group.update({key: value for key, value in settings if key not in _OWN})
        self._optimizer.load_state_dict(whole)

    def get_state(self) -> dict[str, Any]:
        """The state of each parameter by name, in the form of an optimiser of that one alone."""
        if self._optimizer is None:
            return {}
        whole = self._optimizer.state_dict()
        names = list(self._names.values())
        return {
            names[index]: {
                "state": {0: whole["state"][index]} if index in whole["state"] else {},
                "param_groups": [{**group, "params": [0]}],
            }
            for group in whole["param_groups"]
            for index in group["params"]
        }


def fused_adam(learning_rate: float) -> JointOptim:
    """Adam in one kernel: what :func:`~pyro_mlvae.fit` trains with unless told otherwise."""
    return JointOptim(torch.optim.Adam, {"lr": learning_rate, "fused": True})
