"""Whether what belongs to one member depends on others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyro_mlvae.checking.pair import Pair, Sites
from pyro_mlvae.checking.structure import MEMBERS, frames_of, listed, sizes_of
from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.estimators.group_weights import GROUPS, OBSERVATIONS, SUPER_GROUPS


def dependence_faults(
    pair: Pair, kind: str, sites: Sites, batch: GroupedBatch, draws: dict[str, Tensor]
) -> Iterator[str]:
    """Sites whose density, at fixed draws, moves with what belongs to other members."""
    frames = {
        name: next(f for f in frames_of(sites[name]).values() if f.name in MEMBERS)
        for name in sites
    }
    owners = {OBSERVATIONS: torch.arange(len(batch), device=batch.x.device), GROUPS: batch.group}
    if batch.parent is not None:
        owners[SUPER_GROUPS] = batch.parent[batch.group]

    def densities(batch: GroupedBatch, draws: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: density.movedim(frames[name].dim, 0).reshape(frames[name].size, -1).sum(1)
            for name, density in pair.densities(kind, batch, draws).items()
        }

    still, again = densities(batch, draws), densities(batch, draws)
    causes: dict[str, set[str]] = {}
    for level, owner in owners.items():
        latents = [name for name in frames if name in draws and frames[name].name == level]
        for half in _halves(sizes_of(batch)[level], batch):
            touched = half[owner]
            moved = {
                n: _mixed(draws[n], half, frames[n].dim - sites[n]["fn"].event_dim) for n in latents
            }
            trials = [(listed(latents), batch, draws | moved)] if latents else []
            # A model's x is what its latents explain: only the guide may be asked to see another.
            if kind == "guide":
                x = _mixed(batch.x, touched, 0)
                trials.append(("x", batch.with_tensors({**batch.tensors(), "x": x}), draws))
            for cause, other_batch, other_draws in trials:
                for name, density in densities(other_batch, other_draws).items():
                    kept = torch.ones_like(density, dtype=torch.bool)
                    kept[owners[frames[name].name][touched]] = False
                    # On a GPU the same run may differ a little from time to time.
                    noise = 8 * (again[name] - still[name]).abs().max()
                    precision = 64 * torch.finfo(density.dtype).eps * (1 + still[name].abs())
                    if (kept & ~((density - still[name]).abs() <= precision + noise)).any():
                        causes.setdefault(name, set()).add(cause)
    for name, found in causes.items():
        member = MEMBERS[frames[name].name]
        yield (
            f"the {kind}'s site {name!r} of one {member} must not depend on others, but moves with "
            f"{' and '.join(sorted(found))} of other members: take what is its own by batch.group, "
            "and sum or normalise nothing over the whole batch"
        )


def _halves(size: int, batch: GroupedBatch) -> Iterator[Tensor]:
    """Halves of the members: for any ordered pair, one half has the first and not the second."""
    index = torch.arange(size, device=batch.x.device)
    for bit in range((size - 1).bit_length()):
        half = (index >> bit) % 2 == 1
        yield half
        yield ~half


def _mixed(values: Tensor, members: Tensor, dim: int) -> Tensor:
    """``values``, those of ``members`` moved towards their neighbours': so they stay in range."""
    shape = [1] * values.ndim
    shape[dim] = -1
    other = values.roll(1, dim)
    if values.is_floating_point():
        # Each by a part of its own, so that neither a sum nor an extreme stays what it was.
        other = values.lerp(other, torch.linspace(0.3, 0.7, len(members)).to(values).reshape(shape))
    return torch.where(members.reshape(shape), other, values)
