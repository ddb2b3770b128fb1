"""How a step grows with groups, their skew, particles, observations and the sizes of the latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cases import StepOn, captured, even_sizes, grouped, observations, our_step, paper_pair
from results import Row, row
from timing import Turn, interleaved

from pyro_mlvae import GroupedBatch, make_estimator

COUNT = 1024
INSTANCES = 3
GROUPS = (1, 10, 32, 100, 320, 1024)
ASKED_OF_GROUPS = 1.05


def group_rows(
    rounds: int, *, count: int = COUNT, groups: Sequence[int] = GROUPS, instances: int = INSTANCES
) -> list[Row]:
    """The same observations in more and more groups, and in one large group among singletons.

    The same instances step on all of these, and on the same ``x``: only ``group`` differs.
    """
    x, singletons = observations(count), 24
    sizes = {_groups(number): even_sizes(count, number) for number in {*groups, 10, singletons + 1}}
    skewed = f"{count - singletons:,} in one group, {singletons} singletons"
    sizes[skewed] = [count - singletons, *[1] * singletons]
    batches = {name: grouped(x, each) for name, each in sizes.items()}
    part = f"groups, {count:,} observations"
    times = interleaved(
        _on_each(batches, [our_step(paper_pair()) for _ in range(instances)]), rounds, label=part
    )
    rows = []
    for number in groups:
        at_most = ASKED_OF_GROUPS if number == max(groups) else None
        rows.append(row(part, _groups(number), times, _groups(10), at_most=at_most, at={"groups": number}))
    even = _groups(singletons + 1)
    return [*rows, row(part, skewed, times, even, at_most=ASKED_OF_GROUPS)]


def particle_rows(rounds: int, *, count: int = COUNT, particles: Sequence[int] = (1, 2, 4, 8)) -> list[Row]:
    """More draws from the guide, vectorised, against one."""
    batch = grouped(observations(count), even_sizes(count, 10))
    part = f"particles, {count:,} observations"
    names = {number: f"{number} particle{'s' if number > 1 else ''}" for number in particles}
    cases: dict[str, list[Turn]] = {
        name: [our_step(paper_pair(), captured(make_estimator("trace", number)))(batch)]
        for number, name in names.items()
    }
    times = interleaved(cases, rounds, label=part)
    base = names[particles[0]]
    return [row(part, name, times, base, at={"particles": number}) for number, name in names.items()]


def observation_rows(
    rounds: int, *, counts: Sequence[int] = (64, 128, 256, 512, 1024, 2048, 4096)
) -> list[Row]:
    """More and more observations in 10 groups."""
    x = observations(max(counts))
    names = {count: f"{count:,} observations" for count in counts}
    batches = {name: grouped(x[:count], even_sizes(count, 10)) for count, name in names.items()}
    times = interleaved(_on_each(batches, [our_step(paper_pair())]), rounds, label="observations")
    base = names[COUNT if COUNT in names else counts[-1]]
    return [
        row("observations", name, times, base, at={"observations": count}) for count, name in names.items()
    ]


def dim_rows(rounds: int, *, count: int = COUNT, dims: Sequence[int] = (2, 10, 50, 200)) -> list[Row]:
    """Larger and larger content and style."""
    batch = grouped(observations(count), even_sizes(count, 10))
    part = f"dims, {count:,} observations"
    names = {dim: f"content and style of {dim}" for dim in dims}
    cases: dict[str, list[Turn]] = {
        name: [our_step(paper_pair(dim, dim))(batch)] for dim, name in names.items()
    }
    times = interleaved(cases, rounds, label=part)
    base = names[10 if 10 in names else dims[0]]
    return [row(part, name, times, base, at={"dim": dim}) for dim, name in names.items()]


def _groups(number: int) -> str:
    return f"{number:,} even group{'s' if number > 1 else ''}"


def _on_each(batches: Mapping[str, GroupedBatch], steps: Sequence[StepOn]) -> dict[str, list[Turn]]:
    """Every batch as a case, with the same instances."""
    return {name: [step(batch) for step in steps] for name, batch in batches.items()}
