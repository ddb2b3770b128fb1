"""``fit``: train a model and a guide with ``pyro.infer.SVI`` on the paper's objective."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from itertools import islice

import pyro
import torch
import torch.distributed as dist
from pyro.infer import ELBO, Trace_ELBO
from pyro.optim import PyroOptim
from torch import nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import Sampler, mixed_seed
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.penalties import Penalty
from pyro_mlvae.training.acceleration import accelerated
from pyro_mlvae.training.checkpoint import Checkpoint, Progress
from pyro_mlvae.training.gradients import NotFiniteError
from pyro_mlvae.training.history import EpochRecord, History
from pyro_mlvae.training.optimizer import fused_adam
from pyro_mlvae.training.ranks import Ranks, in_parts
from pyro_mlvae.training.step import Program, Step, like_parameters


class DivergedError(InputError):
    """Raised when training meets a NaN or an infinity, before it reaches the weights.

    Attributes:
        history: the epochs that were completed.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def fit(
    model: Program,
    guide: Program,
    sampler: Sampler,
    *,
    epochs: int,
    estimator: ELBO | None = None,
    optimizer: PyroOptim | None = None,
    penalties: Sequence[Penalty] = (),
    clip_norm: float | None = None,
    validation: GroupedBatch | None = None,
    validate_every: int = 1,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    precision: str = "float32",
    compile: bool = False,
    observations_at_once: int | None = None,
    process_group: dist.ProcessGroup | None = None,
    seed: int = 0,
    callback: Callable[[EpochRecord], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    r"""Maximise the mean over the groups of each minibatch of the group's ELBO.

    .. math:: \frac{1}{|\text{groups}|} \sum_G \Big( \sum_{i \in G} E_q \log p(x_i \mid C_G, S_i)
        - \sum_{i \in G} KL(q(S_i) \,\|\, p(S)) - KL(q(C_G) \,\|\, p(C)) \Big)

    The scale, one over the minibatch's number of groups, is put on model and guide alike, here and
    nowhere else: a model never reads it.

    Args:
        model: a Pyro model that takes a :class:`~pyro_mlvae.GroupedBatch`.
        guide: its guide, which takes the same.
        sampler: yields the minibatches of an epoch, such as :class:`~pyro_mlvae.GroupSampler`.
        epochs: how many epochs.
        estimator: any ELBO of Pyro's; ``Trace_ELBO()`` by default.
        optimizer: any PyroOptim; :func:`~pyro_mlvae.training.fused_adam` with learning rate 1e-3 by
            default. :class:`~pyro_mlvae.training.JointOptim` makes one of any optimiser of PyTorch's.
        penalties: what is taken off the objective, under the same scale, such as
            :class:`~pyro_mlvae.penalties.HSIC`. The history's terms stay those of the ELBO itself. They
            take one backward pass together with the estimator, which must have a ``differentiable_loss``
            (all but "graph" and "renyi" have).
        clip_norm: rescale the gradient of all the parameters together to at most this norm.
        validation: a batch on which the ELBO is measured, with draws that are the same every time.
        validate_every: measure it every so many epochs, and after the last.
        device: where to train; modules stay there. By default, where they are.
        dtype: floating-point type to train in. By default, the modules'.
        precision: "float32", or "bf16": the networks, which are the children of model and guide, compute
            in bfloat16. Weights, draws, products of Normals, densities and sums stay as they are.
        compile: send the networks through ``torch.compile``, which pays in long runs.
        observations_at_once: compute a minibatch in parts of whole groups, whose gradients add, with at
            most so many observations unless a single group has more: for minibatches larger than memory.
            Penalties that compare observations see a part.
        process_group: the processes that train together, such as ``torch.distributed.group.WORLD``. Each
            calls ``fit`` with the same arguments, takes its share of every minibatch's groups, draws for
            itself, and ends with the same weights and history. They share the folder of ``checkpoint``.
        seed: of the draws from the guide. The caller's random state is left as it was.
        callback: called with the record of each epoch that ends; in a run that goes on from a checkpoint,
            first with those that had ended before.
        checkpoint: a file to write as training goes, and to go on from if it is there: the run then ends
            with the very weights that it would have without the interruption. Model and guide must be
            modules.

    Returns:
        The history. Ctrl-C ends training and returns the history so far, with ``interrupted`` set.

    Raises:
        InputError: an argument is out of range; x is outside the likelihood's support; or a
            parameter takes part in the loss but would never be trained, because model and guide
            give it the same name; the device has no bfloat16; a minibatch has fewer groups than there
            are processes.
        DivergedError: the loss or its gradient is NaN or infinite.

    Pyro's parameter store is global: ``fit`` works in a scope of its own and leaves the caller's
    store alone. So what is to outlive it must be a parameter of a module, not a ``pyro.param`` in a
    function; and two threads must not fit at the same time.

    >>> from pyro_mlvae import (
    ...     GroupSampler,
    ...     MLPDecoder,
    ...     MLPEncoder,
    ...     MLVAE,
    ...     NormalLikelihood,
    ...     ProductOfNormals,
    ...     fit,
    ...     load_dataset,
    ... )
    >>> data = load_dataset("digits")
    >>> model = MLVAE(MLPDecoder(data.event_shape, 8, 8), NormalLikelihood(), 8, 8)
    >>> guide = ProductOfNormals(MLPEncoder(data.event_shape, 8, 8))
    >>> history = fit(model, guide, GroupSampler(data, 10, 20), epochs=3)
    >>> len(history.epochs)
    3
    """
    require_positive(epochs=epochs, validate_every=validate_every)
    require_seed(seed)
    if observations_at_once is not None:
        require_positive(observations_at_once=observations_at_once)
    if clip_norm is not None and not clip_norm > 0.0:
        raise InputError(f"clip_norm must be positive, or None for no clipping, got {clip_norm}")
    for module in (model, guide):
        if isinstance(module, nn.Module):
            module.to(device=device, dtype=dtype)
            module.zero_grad()  # what the caller left there is no part of the first step
    place = like_parameters(guide, model)
    if validation is not None:
        validation = validation.to(**place)
    ranks = Ranks(process_group)
    modules = {
        kind: module
        for kind, module in (("model", model), ("guide", guide))
        if isinstance(module, nn.Module)
    }
    super_groups = getattr(model, "super_groups", False)
    progress = Progress()
    with (
        accelerated(*modules.values(), device=place["device"], precision=precision, compile=compile),
        torch.random.fork_rng([place["device"]] if place["device"].type == "cuda" else []),
        pyro.get_param_store().scope(),
    ):
        optimizer = optimizer or fused_adam(1e-3)
        step = Step(
            model,
            guide,
            estimator or Trace_ELBO(),
            optimizer,
            clip_norm=clip_norm,
            penalties=penalties,
            ranks=ranks,
        )
        try:
            if checkpoint is not None:
                progress = checkpoint.restore(modules, optimizer, ranks) or progress
                step.steps = resumed_at = progress.steps
                if callback is not None:
                    for record in progress.history.epochs:
                        callback(record)
            while progress.epoch <= epochs:
                epoch = progress.epoch
                if not progress.minibatches:
                    # Seeded epoch by epoch, so that the draws depend on no earlier epoch's length.
                    torch.manual_seed(mixed_seed(seed, epoch))
                started = time.perf_counter() - progress.seconds
                shares = ranks.shares(sampler, epoch - 1, super_groups=super_groups)
                with step.unchecked():
                    for share in islice(shares, progress.minibatches, None):
                        if ranks.rank:
                            # Draws of its own, of which the checkpoint, the first one's, need know nothing.
                            torch.manual_seed(mixed_seed(seed, epoch, progress.minibatches, ranks.rank))
                        parts = in_parts(share, observations_at_once, super_groups=super_groups)
                        loss = step.take(parts, epoch=epoch, number=progress.minibatches + 1)
                        progress.objective -= loss * share.groups / ranks.size
                        progress.terms = progress.terms + step.terms
                        progress.minibatches += 1
                        progress.steps += 1
                        if checkpoint is not None and ranks.agree(checkpoint.due(), progress.steps):
                            progress.seconds = time.perf_counter() - started
                            step.gradients.settle()
                            checkpoint.save(modules, optimizer, progress, ranks)
                step.gradients.settle()
                objective, terms = ranks.total(progress.objective, progress.terms)
                if not terms.groups:
                    raise InputError(f"the sampler yielded no minibatch in epoch {epoch}: give it data")
                measured = None
                if validation is not None and (epoch % validate_every == 0 or epoch == epochs):
                    measured = step.measure(epoch, validation)
                seconds = time.perf_counter() - started
                record = EpochRecord(epoch, seconds, objective / terms.groups, terms, measured)
                progress.end_epoch(record)
                if callback is not None:
                    callback(record)
            if checkpoint is not None and progress.steps > resumed_at:
                checkpoint.save(modules, optimizer, progress, ranks)
        except NotFiniteError as error:
            raise DivergedError(str(error), progress.history) from None
        except KeyboardInterrupt:
            progress.history.interrupted = True
        finally:
            if ranks.size > 1:
                # What holds on to the process group stands in a cycle, and must be gone before that is:
                # otherwise the process aborts now and then as it ends.
                del step
                gc.collect()
    return progress.history
