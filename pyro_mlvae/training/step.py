"""One step of ``fit``: the scale, the terms, and the checks before any update."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO, SVI
from pyro.optim import PyroOptim
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError
from pyro_mlvae.guides import GroupedGuide
from pyro_mlvae.likelihoods import Likelihood
from pyro_mlvae.penalties import Penalty
from pyro_mlvae.training.gradients import GradientCheck, NotFiniteError
from pyro_mlvae.training.ranks import Ranks, Share
from pyro_mlvae.training.terms import ElboTerms, TermRecorder, elbo_terms

Program = Callable[[GroupedBatch], Any]

UNVALIDATED = {"validate_distributions_pyro": False, "validate_distributions_torch": False}
UNSTRUCTURED = {"validate_poutine": False, "validate_infer": False}


class Step:
    """A step of ``SVI`` on model and guide under the objective's scale.

    Args:
        model: the model.
        guide: its guide.
        estimator: of the ELBO.
        optimizer: of their parameters.
        clip_norm: the largest norm of the gradient, or None.
        penalties: what is taken off the objective.
        ranks: the processes that train together; by default this one alone.

    Attributes:
        terms: the terms of the last step, summed over what it was made on.
        steps: how many steps were made before.
        gradients: what checks them; its ``settle`` says whether the last step was sound.
    """

    def __init__(
        self,
        model: Program,
        guide: Program,
        estimator: ELBO,
        optimizer: PyroOptim,
        *,
        clip_norm: float | None = None,
        penalties: Sequence[Penalty] = (),
        ranks: Ranks | None = None,
    ) -> None:
        self.terms = ElboTerms()
        self._place = like_parameters(guide, model)
        # Of what SVI runs, the traces are remembered.
        self._recorder = TermRecorder()
        self._modules = {"model": model, "guide": guide}
        watched = {kind: self._recorder.watch(kind, program) for kind, program in self._modules.items()}
        loss = estimator.loss  # type: ignore[attr-defined]
        self._svi = SVI(**watched, optim=optimizer, loss=loss, loss_and_grads=self._loss_and_grads)
        self._where = ""
        self.gradients = GradientCheck(optimizer, clip_norm)
        self._estimator = estimator
        self._penalised: dict[str, Any] = {}
        self.steps = 0
        if not isinstance(penalties, Sequence) or not all(isinstance(p, Penalty) for p in penalties):
            raise InputError(
                f"penalties must be a list of Penalty, got {penalties!r}: put them into a list, and derive "
                f"your own from pyro_mlvae.penalties.Penalty"
            )
        self._penalties = tuple(penalties)
        self._ranks = ranks or Ranks()
        needs = "penalties need" if penalties else "several processes need"
        self._one_backward = bool(penalties) or self._ranks.size > 1
        if self._one_backward and not hasattr(estimator, "differentiable_loss"):
            raise InputError(
                f"{needs} an estimator with a differentiable_loss, which "
                f"{type(estimator).__name__} has not: use another, such as 'trace'"
            )
        self._averaged = self._ranks.wrap(_Loss(self, model, guide)) if self._one_backward else None
        self._verified = False
        self._unchecked = False

    @contextmanager
    def unchecked(self) -> Iterator[None]:
        """Where step after step is taken: what cannot change is checked once, then trusted.

        The first one runs under the caller's validation of Pyro's structure: sites, plates, shapes; the
        others do without. Distributions are not validated: the likelihood says whether it can take x, and
        no NaN reaches the weights.
        """
        # As it was before is noted here, where a sampler may not have changed it yet.
        before = {name: pyro.settings.get(name) for name in UNSTRUCTURED}
        with pyro.settings.context(**UNVALIDATED, **(UNSTRUCTURED if self._verified else before)):
            self._unchecked = True
            try:
                yield
            finally:
                self._unchecked = False

    def take(self, shares: Sequence[Share], *, epoch: int = 1, number: int = 1) -> float:
        """Make a step, inside the scope of the parameter store in which the optimiser works.

        Args:
            shares: what of the minibatch is computed at once; their losses and gradients add.
            epoch: for messages, the epoch.
            number: for messages, the number of the step in it.

        Returns:
            The estimator's loss, penalties included.

        Raises:
            NotFiniteError: the loss or its gradient is not finite.
        """
        self._where = f"epoch {epoch}, step {number}, before the update"
        likelihood = getattr(self._modules["model"], "likelihood", None)
        if isinstance(likelihood, Likelihood):
            for share in shares:
                # On a GPU the answer would have to be waited for, step by step.
                if share.batch.x.device.type == "cpu" or not self._verified:
                    likelihood.check(share.batch.x)
        loss: float = self._svi.step(*shares)
        if not self._verified:
            self._verified = True
            if self._unchecked:
                pyro.settings.set(**UNSTRUCTURED)
        return loss

    def measure(self, epoch: int, batch: GroupedBatch) -> ElboTerms:
        """The ELBO's terms on a validation batch, after an epoch."""
        with pyro.settings.context(**UNVALIDATED):
            terms = elbo_terms(self._modules["model"], self._modules["guide"], batch)
        if not math.isfinite(terms.elbo):
            where = f"the validation after epoch {epoch}"
            raise NotFiniteError(self._what_is_not_finite(terms, -terms.elbo, where))
        return terms

    def _loss_and_grads(self, model: Program, guide: Program, *shares: Share) -> float:
        """The estimator's loss; leaves on the parameters gradients that are finite, and clipped."""
        loss, self.terms, self._penalised = 0.0, ElboTerms(), {}
        for number, share in enumerate(shares):
            share = share.to(**self._place)
            # Around the estimator, which may run model and guide on other groups than the minibatch's. The
            # gradient is averaged over processes, so that each scales its share up by their number.
            with poutine.scale(scale=self._scale(share)):
                if self._averaged is None:
                    own = self._estimator.loss_and_grads(model, guide, share.batch)  # type: ignore[attr-defined]
                else:
                    own = self._backward(share, synchronise=number == len(shares) - 1)
            if share.counts:
                loss += own
                # An estimator that runs them on other groups says itself what the terms are.
                terms = getattr(self._estimator, "terms", None)
                terms = terms if isinstance(terms, ElboTerms) else self._recorder.collect(share.batch)
                self.terms = self.terms + terms if number else terms
            self._recorder.forget()
        self.steps += 1
        if not self._verified:
            self._check_store()
        trained = [p for _, p in pyro.get_param_store().named_parameters() if p.grad is not None]
        self.gradients.check(
            trained, loss, partial(self._what_is_not_finite, self.terms, loss, self._where)
        )
        return loss

    def _scale(self, share: Share) -> float:
        return self._ranks.size / share.groups

    def _backward(self, share: Share, *, synchronise: bool) -> float:
        """One backward pass through the estimator's loss and the penalties."""
        waits = synchronise or self._ranks.size == 1
        assert self._averaged is not None
        with contextlib.nullcontext() if waits else self._averaged.no_sync():  # type: ignore[operator]
            loss = self._averaged(share)
            # What does not count still takes part, or the other processes would wait for it.
            (loss if share.counts else 0.0 * loss).backward()
        return float(loss.detach())

    def differentiable_loss(self, share: Share) -> Tensor:
        """The estimator's loss and the penalties on a share of the minibatch."""
        batch, guide_module = share.batch, self._modules["guide"]
        encoded: list[Any] = []
        encode = hook = None
        if self._penalties and isinstance(guide_module, GroupedGuide):
            # What the encoder said is read off the pass itself, so that nothing is encoded twice.
            hook = guide_module.encoder.register_forward_hook(lambda *call: encoded.append(call[-1]))

            def encode() -> Any:
                said = encoded[0] if encoded else guide_module.encoder(batch.x)
                return guide_module.codes_from(batch.x, *said)

        try:
            loss: Tensor = self._estimator.differentiable_loss(  # type: ignore[attr-defined]
                self._svi.model, self._svi.guide, batch
            )
        finally:
            if hook is not None:
                hook.remove()
        if not self._penalties:
            return loss
        passes = self._recorder.latents(batch, self.steps, encode)
        for penalty in self._penalties:
            value = torch.stack([penalty(latents) for latents in passes]).mean() * self._scale(share)
            # There may be two of a kind.
            name = f"the penalty {type(penalty).__name__}"
            self._penalised[name] = self._penalised.get(name, 0.0) + value.detach()
            loss = loss + value
        return loss

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

    def _what_is_not_finite(self, terms: ElboTerms, loss: float, where: str) -> str:
        values = terms.per_observation() | self._penalised
        bad = [name for name, value in values.items() if not math.isfinite(float(value))]
        named = [name for name in bad if name != "elbo"] or ["the gradient"]
        return (
            f"training stopped at {where}: {' and '.join(named)} is not "
            f"finite (loss {loss:.4g}); try a smaller learning rate, clip_norm=10, or rescale x"
        )


class _Loss(nn.Module):
    """A step's loss as a module, which is what ``DistributedDataParallel`` averages gradients of."""

    def __init__(self, step: Step, model: Program, guide: Program) -> None:
        super().__init__()
        self._step = step
        for name, program in (("model", model), ("guide", guide)):
            if isinstance(program, nn.Module):
                self.add_module(name, program)

    def forward(self, share: Share) -> Tensor:
        """The loss of one share."""
        return self._step.differentiable_loss(share)


def like_parameters(*programs: Program) -> dict[str, Any]:
    """Device and dtype of the first parameter, where batches have to be."""
    for program in programs:
        if isinstance(program, nn.Module):
            for parameter in program.parameters():
                return {"device": parameter.device, "dtype": parameter.dtype}
    return {"device": torch.device("cpu"), "dtype": None}
