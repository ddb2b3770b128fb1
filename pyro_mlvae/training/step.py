"""One step of ``fit``: the scale, the terms, and the checks before any update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import nn

from pyro_mlvae.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.likelihoods import Likelihood
from pyro_mlvae.penalties import Penalty
from pyro_mlvae.training.terms import ElboTerms, TermRecorder, elbo_terms

Program = Callable[[GroupedBatch], Any]

UNVALIDATED = {"validate_distributions_pyro": False, "validate_distributions_torch": False}


class NotFiniteError(Exception):
    """A NaN or an infinity in the loss or its gradient; says where, which term, and what to try."""


class Step:
    """What ``SVI`` calls in a step: model and guide under the objective's scale, loss and gradient.

    Args:
        model: the model.
        guide: its guide.
        estimator: of the ELBO.
        clip_norm: the largest norm of the gradient, or None.
        penalties: what is taken off the objective.

    Attributes:
        model: the model, watched for its terms; :meth:`loss_and_grads` scales it.
        guide: the guide, likewise.
        loss: the estimator's loss, which ``SVI`` asks for and ``fit`` never calls.
        terms: the terms of the last step.
        steps: how many steps were made before.
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        estimator: ELBO,
        clip_norm: float | None,
        penalties: Sequence[Penalty] = (),
    ) -> None:
        self._recorder = TermRecorder()
        self.model = self._recorder.watch("model", model)
        self.guide = self._recorder.watch("guide", guide)
        self.loss = estimator.loss  # type: ignore[attr-defined]
        self.terms = ElboTerms()
        self._where = ""
        self._modules = {"model": model, "guide": guide}
        self._estimator = estimator
        self._penalised: dict[str, Any] = {}
        self.steps = 0
        self._loss_and_grads = estimator.loss_and_grads  # type: ignore[attr-defined]
        if not isinstance(penalties, Sequence) or not all(isinstance(p, Penalty) for p in penalties):
            raise InputError(
                f"penalties must be a list of Penalty, got {penalties!r}: put them into a list, and derive "
                f"your own from pyro_mlvae.penalties.Penalty"
            )
        self._penalties = tuple(penalties)
        if penalties:
            if not hasattr(estimator, "differentiable_loss"):
                raise InputError(
                    f"penalties need an estimator with a differentiable_loss, which "
                    f"{type(estimator).__name__} has not: use another, such as 'trace'"
                )
            self._loss_and_grads = self._penalised_loss_and_grads
        self._clip_norm = clip_norm
        self._verified = False

    @contextmanager
    def checks(self, epoch: int, number: int, batch: GroupedBatch) -> Iterator[None]:
        """The checks around a step: what cannot change is checked once, then trusted.

        The first step runs under the caller's validation of Pyro's structure: sites, plates,
        shapes. Distributions are not validated: the likelihood says once whether it can take x, and
        :meth:`loss_and_grads` sees every NaN.
        """
        self._where = f"epoch {epoch}, step {number}, before the update"
        likelihood = getattr(self._modules["model"], "likelihood", None)
        if isinstance(likelihood, Likelihood):
            likelihood.check(batch.x)
        structure = {"validate_poutine": False, "validate_infer": False} if self._verified else {}
        with pyro.settings.context(**UNVALIDATED, **structure):
            yield

    def measure(self, epoch: int, batch: GroupedBatch) -> ElboTerms:
        """The ELBO's terms on a validation batch, after an epoch."""
        with pyro.settings.context(**UNVALIDATED):
            terms = elbo_terms(self._modules["model"], self._modules["guide"], batch)
        if not math.isfinite(terms.elbo):
            self._where = f"the validation after epoch {epoch}"
            raise NotFiniteError(self._what_is_not_finite(terms, -terms.elbo))
        return terms

    def loss_and_grads(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        """The estimator's loss; leaves on the parameters gradients that are finite, and clipped."""
        # Around the estimator, which may run model and guide on other groups than the minibatch's.
        with poutine.scale(scale=1.0 / batch.num_groups):
            loss = self._loss_and_grads(model, guide, batch)
        # An estimator that runs them on other groups says itself what the terms are.
        own = getattr(self._estimator, "terms", None)
        self.terms = own if isinstance(own, ElboTerms) else self._recorder.collect(batch)
        self._recorder.forget()
        if not self._verified:
            self._check_store()
            self._verified = True
        trained = [p for _, p in pyro.get_param_store().named_parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in trained])  # type: ignore[misc]
        if not (torch.isfinite(norm) and math.isfinite(loss)):
            raise NotFiniteError(self._what_is_not_finite(self.terms, loss))
        if self._clip_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, self._clip_norm, norm)
        return loss

    def _penalised_loss_and_grads(self, model: Program, guide: Program, batch: GroupedBatch) -> float:
        """The estimator's loss and the penalties, with one backward pass through both."""
        guide_module = self._modules["guide"]
        encoded: list[Any] = []
        encode = hook = None
        if isinstance(guide_module, GroupedGuide):
            # What the encoder said is read off the pass itself, so that nothing is encoded twice.
            hook = guide_module.encoder.register_forward_hook(lambda *call: encoded.append(call[-1]))

            def encode() -> Any:
                said = encoded[0] if encoded else guide_module.encoder(batch.x)
                return guide_module.codes_from(batch.x, *said)

        try:
            loss = self._estimator.differentiable_loss(model, guide, batch)  # type: ignore[attr-defined]
        finally:
            if hook is not None:
                hook.remove()
        passes = self._recorder.latents(batch, self.steps, encode)
        self._penalised = {}
        for penalty in self._penalties:
            value = torch.stack([penalty(latents) for latents in passes]).mean() / batch.num_groups
            # There may be two of a kind.
            name = f"the penalty {type(penalty).__name__}"
            self._penalised[name] = self._penalised.get(name, 0.0) + value.detach()
            loss = loss + value
        self.steps += 1
        loss.backward()
        return float(loss.detach())

    def _check_store(self) -> None:
        """Every parameter that has a gradient must be in the store as itself, or it never moves."""
        stored = {id(p) for _, p in pyro.get_param_store().named_parameters()}
        for kind, module in self._modules.items():
            if not isinstance(module, nn.Module):
                continue
            for name, parameter in module.named_parameters():
                if parameter.grad is not None and id(parameter) not in stored:
                    raise InputError(
                        f"the {kind}'s parameter {name!r} would never be trained: model and guide "
                        f"register different parameters under that name; rename the attribute "
                        f"{name.split('.')[0]!r} in one of them, or name the module with "
                        f"PyroModule.__init__(name={kind!r})"
                    )

    def _what_is_not_finite(self, terms: ElboTerms, loss: float) -> str:
        values = terms.per_observation() | self._penalised
        bad = [name for name, value in values.items() if not math.isfinite(float(value))]
        named = [name for name in bad if name != "elbo"] or ["the gradient"]
        return (
            f"training stopped at {self._where}: {' and '.join(named)} is not "
            f"finite (loss {loss:.4g}); try a smaller learning rate, clip_norm=10, or rescale x"
        )
