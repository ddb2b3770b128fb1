"""``fit``: train a model and a guide with ``pyro.infer.SVI`` on the paper's objective."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from pyro.infer import ELBO, SVI
from pyro.optim import PyroOptim

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import Sampler, mixed_seed
from pyro_mlvae.errors import InputError, require_positive, require_seed, unknown_name
from pyro_mlvae.estimators.programs import Program, in_mode, place_of
from pyro_mlvae.penalties import Penalty
from pyro_mlvae.training.acceleration import in_precision, require_possible
from pyro_mlvae.training.capture import Captured
from pyro_mlvae.training.checkpoint import Checkpoint
from pyro_mlvae.training.gradients import Checked, DivergedError, NotFiniteError
from pyro_mlvae.training.history import EpochRecord, History
from pyro_mlvae.training.objective import Objective
from pyro_mlvae.training.optimizer import fused_adam
from pyro_mlvae.training.parts import InParts
from pyro_mlvae.training.progress import Budget, Progress
from pyro_mlvae.training.ranks import Averaged, Ranks
from pyro_mlvae.training.surroundings import (
    check_support,
    look_at,
    on_place,
    own_parameters,
    prepare,
    validated_at_first,
)
from pyro_mlvae.training.validation import better, measured, take_back

CAPTURE = ("auto", "off")


def fit(
    model: Program,
    guide: Program,
    sampler: Sampler,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    patience: int | None = None,
    estimator: ELBO | None = None,
    optimizer: PyroOptim | None = None,
    penalties: Sequence[Penalty] = (),
    clip_norm: float | None = None,
    validation: GroupedBatch | None = None,
    training_part: GroupedBatch | None = None,
    validate_every: int = 1,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    precision: str = "float32",
    capture: str = "auto",
    compile: bool = False,
    observations_at_once: int | None = None,
    process_group: dist.ProcessGroup | None = None,
    seed: int = 0,
    callback: Callable[[EpochRecord], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    r"""Maximise the mean over the groups of each minibatch of the group's ELBO, epoch by epoch.

    .. math:: \frac{1}{|\text{groups}|} \sum_G \Big( \sum_{i \in G} E_q \log p(x_i \mid C_G, S_i)
        - \sum_{i \in G} KL(q(S_i) \,\|\, p(S)) - KL(q(C_G) \,\|\, p(C)) \Big)

    It is this loop, with validation, a history, checkpoints and checks around it::

        svi = SVI(model, guide, optimizer, loss=Objective(estimator, penalties=penalties))
        for epoch in range(epochs):
            for batch in sampler.epoch(epoch):
                svi.step(batch)

    Args:
        model: a Pyro model that takes a :class:`~pyro_mlvae.GroupedBatch`: a module, a function, or
            a handler such as ``poutine.mask`` around either.
        guide: its guide, which takes the same.
        sampler: yields the minibatches of an epoch, such as :class:`~pyro_mlvae.GroupSampler`.
        epochs: how many epochs; or
        steps: how many steps, the last epoch cut where they end. One of the two is given.
        patience: end after so many measurements on ``validation`` without a larger objective (the
            ELBO less ``penalties``, as they are after a warm-up). In any case the weights of the
            best measurement are given back.
        estimator: an ELBO of Pyro's or ours, see :class:`Objective`; ``Trace_ELBO()`` by default.
        optimizer: any PyroOptim; by default :func:`~pyro_mlvae.training.fused_adam` with learning
            rate 1e-3. :class:`~pyro_mlvae.training.JointOptim` takes any optimiser of PyTorch.
        penalties: what is taken off the objective, under the same scale, such as
            :class:`~pyro_mlvae.penalties.HSIC`. The history's terms stay those of the ELBO. The
            estimator must have a ``differentiable_loss`` (all but "graph" and "renyi" have).
        clip_norm: rescale the gradient of all the parameters together to at most this norm.
        validation: a batch on which the ELBO is measured, with draws that are the same every time.
        training_part: training observations in as many groups of the same sizes. Their ELBO is
            measured beside that of ``validation``, and can be compared with it.
        validate_every: measure it every so many epochs, and after the last; also patience's unit.
        device: where to train; modules stay there. By default, where they are.
        dtype: floating-point type to train in. By default, the modules'.
        precision: "float32", or "bf16": the networks, which are the children of model and guide,
            compute in bfloat16; all else stays as it is.
        capture: "auto" records a step of each shape of minibatch, and replays it if a replay equals
            the eager step; otherwise the history says why. "off": all steps are eager.
        compile: send recorded graphs through ``torch.compile``: about ten seconds for each shape.
        observations_at_once: compute a minibatch in parts of whole groups, of at most so many
            observations unless one group has more. Penalties that compare observations see a part.
        process_group: the processes that train together, such as ``torch.distributed.group.WORLD``.
            Each calls ``fit`` with the same arguments and the same ``checkpoint``, and takes its
            share of every minibatch's groups; all end with the same weights and history.
        seed: of the draws from the guide. The caller's random state is left as it was.
        callback: called with the record of each epoch, those of a run that goes on included.
        checkpoint: a file to write as training goes, and to go on from if it is there: the run ends
            with the weights of one without interruption. Model and guide must be modules.

    Returns:
        The history. Ctrl-C ends training and returns the history so far, with ``interrupted`` set.

    Raises:
        InputError: an argument is out of range; x is outside the likelihood's support; a parameter
            takes part in the loss but would never be trained, or none would be; the device has no
            bfloat16; a minibatch has fewer groups than there are processes.
        DivergedError: the loss or its gradient is NaN or infinite.

    Modules are in training mode, and gradients are on, whatever the caller has set. Pyro's
    parameter store is global: ``fit`` works in a scope of its own, and leaves in the caller's store
    only what a function has made with ``pyro.param``. Two threads must not fit at the same time.

    >>> from pyro_mlvae import GroupSampler, MLPDecoder, MLPEncoder, MLVAE, NormalLikelihood
    >>> from pyro_mlvae import ProductOfNormals, fit, load_dataset
    >>> data = load_dataset("digits")
    >>> model = MLVAE(MLPDecoder(data.event_shape, 8, 8), NormalLikelihood(), 8, 8)
    >>> guide = ProductOfNormals(MLPEncoder(data.event_shape, 8, 8))
    >>> history = fit(model, guide, GroupSampler(data, 10, 20), epochs=3)
    >>> len(history.epochs)
    3
    """
    budget = Budget(epochs, steps, patience)
    require_positive(validate_every=validate_every)
    require_seed(seed)
    if patience is not None and validation is None:
        raise InputError("patience needs observations to measure on, got none: give it validation")
    if capture not in CAPTURE:
        raise unknown_name("capture", capture, CAPTURE)
    objective: Any = Objective(estimator, penalties=penalties)
    modules = prepare(model, guide, device=device, dtype=dtype)
    place = place_of(guide, model)
    require_possible(place["device"], precision, compile=compile)
    validation = None if validation is None else validation.to(**place)
    training_part = None if training_part is None else training_part.to(**place)
    ranks = Ranks(process_group)
    progress, written = Progress(), -1
    with (
        in_precision(model, guide, device=place["device"], precision=precision),
        in_mode(model, guide, training=True),
        torch.random.fork_rng([place["device"]] if place["device"].type == "cuda" else []),
        torch.inference_mode(False),
        own_parameters(model, guide) as before,
    ):
        optimizer = optimizer or fused_adam(1e-3)
        super_groups = look_at(model, guide, sampler, place, before)
        if ranks.size > 1:
            objective = Averaged(objective, model, guide, ranks)
        if observations_at_once is not None:
            objective = InParts(objective, observations_at_once, super_groups=super_groups)
        if isinstance(objective, Objective) and (compile or capture == "auto"):
            objective = Captured(objective, compile=compile)
        checked = Checked(objective, clip_norm)
        svi = SVI(model, guide, optimizer, loss=checked)

        def save() -> None:
            nonlocal written
            if checkpoint is not None and progress.steps > written:
                progress.seconds, written = time.perf_counter() - started, progress.steps
                progress.shapes = getattr(objective, "recorded", [])
                checkpoint.save(modules, optimizer, progress, ranks)

        try:
            if checkpoint is not None:
                progress = checkpoint.restore(modules, optimizer, ranks) or progress
                objective.steps = written = progress.steps
                if isinstance(objective, Captured):
                    objective.grant(progress.shapes)
                if callback is not None:
                    for record in progress.history.epochs:
                        callback(record)
            while budget.open(progress):
                epoch = progress.epoch
                if not progress.minibatches:
                    # Seeded epoch by epoch, so that the draws depend on no earlier epoch's length.
                    torch.manual_seed(mixed_seed(seed, epoch))
                started = time.perf_counter() - progress.seconds
                shares = ranks.shares(sampler, epoch - 1, super_groups=super_groups)
                with validated_at_first() as trust:
                    done, end = progress.minibatches, budget.cut(progress)
                    for number, (batch, *weight) in enumerate(islice(shares, done, end), done):
                        if ranks.rank:
                            # Draws of its own: the checkpoint holds the state of the first's.
                            torch.manual_seed(mixed_seed(seed, epoch, number, ranks.rank))
                        checked.where = f"epoch {epoch}, step {number + 1}, before the update"
                        check_support(model, batch)
                        loss = svi.step(on_place(batch, **place), *weight)
                        trust()
                        progress.add(loss, batch, objective.terms, *weight)
                        if checkpoint is not None and ranks.agree(checkpoint.due(), progress.steps):
                            save()
                total, terms = ranks.total(progress.objective, progress.terms)
                if not terms.groups:
                    raise InputError(
                        f"the sampler yielded no minibatch in epoch {epoch}: give it data"
                    )
                last, best = budget.spent(progress), progress.best
                held_out = trained = None
                due = epoch % validate_every == 0 or last
                if training_part is not None and due:
                    trained, _ = measured(model, guide, training_part, (), epoch)
                if validation is not None and due:
                    held_out, value = measured(model, guide, validation, penalties, epoch)
                    if patience is not None:
                        best = better(best, ranks.of_first(value), progress.steps, modules)
                if last or budget.impatient(best):
                    save()  # before the epoch ends: with more to spend, training goes on from here
                seconds = time.perf_counter() - started
                value = total / terms.groups
                record = EpochRecord(
                    epoch, seconds, value, terms, held_out, progress.steps, trained
                )
                progress.best = best
                progress.end_epoch(record)
                if callback is not None:
                    callback(record)
            progress.history.ended = "patience" if budget.impatient(progress.best) else "budget"
        except NotFiniteError as error:
            raise DivergedError(str(error), progress.history) from None
        except KeyboardInterrupt:
            progress.history.ended = "interrupted"
        finally:
            progress.history.eager = getattr(objective, "note", None)
            if ranks.size > 1:
                # A cycle holds on to the process group, which aborts the process at times.
                del svi, checked, objective
                gc.collect()
        if progress.best is not None:
            progress.history.best_steps = progress.best.steps
            take_back(progress.best, modules)
    return progress.history
