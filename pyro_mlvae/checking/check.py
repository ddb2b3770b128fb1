"""``check``: all that is wrong with a model and its guide, before they are trained.

Both are run again and again from one random state: first to see how their sites stand, then with
all draws pinned while something is changed on which they must not depend.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import pyro
import torch

from pyro_mlvae.checking.consistency import consistency_faults
from pyro_mlvae.checking.dependence import dependence_faults
from pyro_mlvae.checking.pair import CannotRunError, Pair, Sites
from pyro_mlvae.checking.structure import (
    frames_of,
    is_subsampled,
    matching_faults,
    plate_faults,
    scale_faults,
    shape_faults,
)
from pyro_mlvae.checking.training import density_faults, parameter_faults
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.errors import InputError, require_seed
from pyro_mlvae.estimators.group_weights import GROUPS
from pyro_mlvae.estimators.programs import Program, place_of

# What Pyro and PyTorch would raise, one thing at a time, is found here all together.
_OFF = dict.fromkeys(("validate_infer", "validate_poutine", "module_local_params"), False)
_OFF |= dict.fromkeys(("validate_distributions_pyro", "validate_distributions_torch"), False)


class PairError(InputError):
    """Raised for a model and a guide that do not make a sound pair.

    Attributes:
        faults: what is wrong, one sentence each; the message is all of them, one a line.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


def check(model: Program, guide: Program, batch: GroupedBatch, *, seed: int = 0) -> None:
    """Raise for all that is wrong with a model and its guide, and change nothing of the caller's.

    It looks at sites, plates, shapes, scales and densities; whether what belongs to one group or
    observation depends on others; whether every parameter would be trained; and whether what
    training draws from is what test time reads. Model and guide are taken in the mode, training or
    evaluation, in which they come.

    Args:
        model: the model, which observes ``batch.x``.
        guide: its guide.
        batch: what to run them on, which is put where their parameters are. A small one will do,
            but of at least two groups: in a single one there is no other group to depend on.
        seed: of the draws.

    Raises:
        PairError: there are faults; its ``faults`` has a sentence for each.
        InputError: ``batch`` is no batch, or ``seed`` no seed.

    >>> from pyro_mlvae import MLPDecoder, MLPEncoder, MLVAE, NormalLikelihood, ProductOfNormals
    >>> batch = GroupedBatch(torch.rand(4, 5), torch.tensor([0, 0, 1, 1]), num_groups=2)
    >>> model = MLVAE(MLPDecoder((5,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> check(model, ProductOfNormals(MLPEncoder((5,), content_dim=2, style_dim=1)), batch)
    >>> try:
    ...     check(model, ProductOfNormals(MLPEncoder((5,), content_dim=3, style_dim=1)), batch)
    ... except PairError as error:
    ...     print(error)
    the site 'content' must have one event shape in model and guide, got [2] in the model and [3]
    in the guide: give both the same dimensions
    """
    if not isinstance(batch, GroupedBatch):
        came = type(batch).__name__
        raise InputError(
            f"batch must be a GroupedBatch, got {came}: GroupedBatch(x, group, num_groups)"
        )
    require_seed(seed)
    batch = batch.to(**place_of(guide, model))  # as fit does
    with (
        warnings.catch_warnings(action="ignore"),
        pyro.get_param_store().scope(),
        pyro.settings.context(**_OFF),
        torch.enable_grad(),
    ):
        faults = _find_faults(Pair(model, guide, seed), batch)
    if faults:
        raise PairError(faults)


def _find_faults(pair: Pair, batch: GroupedBatch) -> list[str]:
    faults: list[str] = []
    sites: dict[str, Sites] = {}
    for kind in pair.programs:
        try:
            sites[kind] = pair.sites(kind, batch, {})
        except CannotRunError as fault:
            faults.append(str(fault))
    frames = [
        f for kind in sites for site in sites[kind].values() for f in frames_of(site).values()
    ]
    if {frame.size for frame in frames if frame.name == GROUPS} == {len(batch)}:
        batch = batch.singletons()
    misplaced = [fault for kind in sites for fault in plate_faults(kind, sites[kind], batch)]
    broken = [fault for kind in sites for fault in shape_faults(kind, sites[kind])]
    if len(sites) == 2:
        broken += matching_faults(sites["guide"], sites["model"], batch)
    faults += misplaced + broken
    # Where the structure is wrong, what follows would only say so again.
    if len(sites) < 2 or any(map(is_subsampled, frames)):
        return faults
    faults += scale_faults(sites)
    if broken:
        return faults
    draws = {name: site["value"].detach() for name, site in sites["guide"].items()}
    try:
        not_finite = list(density_faults(pair, batch, draws))
        faults += not_finite or parameter_faults(pair, batch)
        for kind in [] if misplaced or not_finite else sites:
            faults += dependence_faults(pair, kind, sites[kind], batch, draws)
        # Of a pair with another fault this would only say so again.
        faults += [] if faults else consistency_faults(pair, batch)
    except CannotRunError as fault:
        faults += [] if misplaced else [str(fault)]
    return faults
