"""What ``swap``, ``interpolate``, ``generate`` and ``traverse`` do: figures of a trained run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_mlvae import plotting, runs
from pyro_mlvae.cli.choose import Choice
from pyro_mlvae.cli.operate import Generate, Interpolate, Operation, Swap, Traverse
from pyro_mlvae.cli.source import load_for
from pyro_mlvae.data.catalogue import is_ink
from pyro_mlvae.devices import find_device
from pyro_mlvae.errors import InputError, require_positive, require_seed
from pyro_mlvae.latents import decoding as operations
from pyro_mlvae.latents.encoding import Codes, encode, group_content
from pyro_mlvae.ops import mean_of
from pyro_mlvae.plotting.looks import look_of_shown
from pyro_mlvae.runs.custom import is_custom
from pyro_mlvae.runs.folder import Run

DRAWN, GENERATED = 10, 8
# More pictures than this on a side are no longer seen.
MOST = 50


def draw(options: Operation) -> int:
    """Draw and write the figure of an operation; returns the exit status."""
    plotting.require_figure_path(options.out)
    require_seed(options.seed)
    for flag, index in (("--content", options.content), ("--style", options.style)):
        _require_count(f"{flag} names", len(index), least=0)
    device = find_device(options.device)
    run = runs.load_run(options.folder)
    run.model.to(device)
    run.guide.to(device)
    figure, seen = FIGURES[type(options)](options, run)
    plotting.save_figure(figure, options.out)
    print(f"{options.out}\n{seen}")
    return 0


def _swap(options: Swap, run: Run) -> tuple[Figure, str]:
    """Every content with every style, and the originals at the margins."""
    require_positive(evidence=options.evidence)
    choice = _choice(options, run)
    if options.content:
        contents = choice.named("--content", options.content)
    else:
        contents = choice.contents(DRAWN, options.evidence)
    together = choice.evidence(contents, options.evidence)
    if options.style:
        styles = choice.named("--style", options.style)
    else:
        styles = choice.styles(DRAWN, apart_from=contents)
    data = choice.source.data
    codes = encode(run.guide, data.subset(together.flatten()))
    row = torch.arange(len(contents)).repeat_interleave(options.evidence)
    content = mean_of(group_content(run.guide, codes, torch.arange(len(row)), row))
    style = mean_of(_codes(run, choice, styles).style)
    grid = operations.swap(run.model, content, style, data.observations(styles))
    source = (
        "one observation"
        if options.evidence == 1
        else f"{options.evidence} observations of its group"
    )
    figure = plotting.swap_grid(
        data.observations(contents),
        data.observations(styles),
        grid,
        title=f"Content of the row, from {source}",
        look=plotting.look_of(data),
    )
    return figure, (
        f"content of {_list(contents)}, each from {source}, with style of {_list(styles)}, "
        f"of {choice.source.name}"
    )


def _interpolate(options: Interpolate, run: Run) -> tuple[Figure, str]:
    """The lines, and the observations at their ends."""
    _require_count("--steps", options.steps, least=2)
    choice = _choice(options, run)
    contents, styles = choice.same(
        options.content, options.style, 2, "2 positions, the ends of a line"
    )
    decoded = operations.interpolate(
        run.model,
        mean_of(_codes(run, choice, contents).content),
        mean_of(_codes(run, choice, styles).style),
        options.steps,
        vary=options.vary,
    )
    data, look = choice.source.data, plotting.look_of(choice.source.data)
    ends = data.observations(contents), data.observations(styles)
    figure = plotting.interpolation_figure(*ends, decoded, vary=options.vary, look=look)
    return figure, (
        f"content between {_list(contents)}, style between {_list(styles)}, of "
        f"{choice.source.name}, varying {options.vary}"
    )


def _generate(options: Generate, run: Run) -> tuple[Figure, str]:
    """Every content with every style."""
    if options.content and options.style:
        raise InputError("--content and --style together leave nothing to generate: use swap")
    for flag, count, by, index in (
        ("--rows", options.rows, "--content", options.content),
        ("--columns", options.columns, "--style", options.style),
    ):
        if count is not None and index:
            raise InputError(
                f"{flag} says how many to draw, but {by} names them: leave out one of them"
            )
        if count is not None:
            _require_count(flag, count, least=1)
    latents, originals, look = {}, {}, None
    seen = {"content": "contents from the prior", "style": "styles from the prior"}
    for name, index in (("content", options.content), ("style", options.style)):
        if index:
            choice = _choice(options, run)
            named = choice.named(f"--{name}", index)
            latents[name] = mean_of(getattr(_codes(run, choice, named), name))
            originals[f"{name}_x"] = choice.source.data.observations(named)
            look = plotting.look_of(choice.source.data)
            seen[name] = f"{name} of {_list(named)} of {choice.source.name}"
    rows, columns = options.rows or GENERATED, options.columns or GENERATED
    groups = None
    if is_custom(run.config.model):
        # Its priors may depend on what is known of groups: those of observations drawn by the seed.
        data, generator = (
            _choice(options, run).source.data,
            torch.Generator().manual_seed(options.seed),
        )
        order = torch.randint(len(data), (max(rows, columns),), generator=generator)
        groups = data.groups(order).singletons()
    generated = operations.generate(
        run.model, contents=rows, styles=columns, groups=groups, seed=options.seed, **latents
    )
    # What is drawn from the prior needs no data, only to know whether it is ink.
    look = look or look_of_shown([], generated, ink=is_ink(options.data or run.config.data))
    figure = plotting.generation_figure(generated, **originals, look=look)
    return figure, " with ".join(seen.values())


def _traverse(options: Traverse, run: Run) -> tuple[Figure, str]:
    """One row a dimension, the one that changes the observation most first."""
    choice = _choice(options, run)
    contents, styles = choice.same(
        options.content, options.style, 1, "1 position, from which to start"
    )
    content = mean_of(_codes(run, choice, contents).content)[0]
    style = mean_of(_codes(run, choice, styles).style)[0]
    traversed = operations.traverse(run.model, content, style, options.which)
    data = choice.source.data
    figure = plotting.traversal_figure(
        data.observations(contents)[0],
        data.observations(styles)[0],
        traversed,
        operations.TRAVERSED,
        which=options.which,
        own=content if options.which == "content" else style,
        look=plotting.look_of(data),
    )
    return figure, (
        f"dimensions of {options.which}, starting from content of {_list(contents)} and style of "
        f"{_list(styles)}, of {choice.source.name}"
    )


def _codes(run: Run, choice: Choice, index: Tensor) -> Codes:
    return encode(run.guide, choice.source.data.subset(index))


def _require_count(what: str, count: int, *, least: int) -> None:
    if not least <= count <= MOST:
        raise InputError(f"{what} {count}, expected from {least} to {MOST}")


def _list(index: Tensor) -> str:
    return " ".join(map(str, index.tolist()))


def _choice(options: Operation, run: Run) -> Choice:
    """What chooses among the observations of the data."""
    return Choice.of(load_for(run, options.data, options.data_root), options.seed)


# The figure of each operation, and what is seen on it.
FIGURES: dict[type[Operation], Callable[..., tuple[Figure, str]]] = {
    Swap: _swap,
    Interpolate: _interpolate,
    Generate: _generate,
    Traverse: _traverse,
}
