"""A map of the latent space in two dimensions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.errors import printable
from pyro_mlvae.plotting.style import new_figure, plain

# Tol's "muted", with black for its pale grey: ten colours told apart with any kind of colour
# vision.
TOL_MUTED = (
    "#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE",
    "#882255", "#44AA99", "#999933", "#AA4499", "#000000",
)  # fmt: skip
# Where there are more labels than colours, a colour comes again with another marker.
MARKERS = "os^DvP*X"
# Up to so many labels have a legend; more are named where they gather, if there is room: the middle
# half of a label's points within this part of the map's width.
MOST_IN_LEGEND, GATHERED = 12, 0.09
# Letters of a name in the legend, and on the map, where a letter takes this part of its width and
# height.
_LONGEST, _LONGEST_ON_MAP = 40, 16
_LETTER = (0.014, 0.035)


@plain
def latent_map(
    content: Tensor,
    style: Tensor,
    label: Tensor,
    names: Sequence[Hashable],
    *,
    untrained: tuple[Tensor, Tensor] | None = None,
    most: int = 1200,
) -> Figure:
    """Content and style of single observations, laid out by t-SNE, coloured by label.

    Args:
        content: locs of content, ``[N, content]``.
        style: locs of style, ``[N, style]``.
        label: index of each observation's label, ``[N]``.
        names: what the labels are called.
        untrained: the locs of content and of style that an untrained encoder gives, the control.
        most: of more observations than this, a seeded choice is drawn.
    """
    maps = [("Content", content), ("Style", style)]
    if untrained is not None:
        pairs = zip(("Content", "Style"), untrained, strict=True)
        maps += [(f"{site}, untrained encoder", codes) for site, codes in pairs]
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(label), generator=generator)[:most].sort().values
    label = label[chosen]
    rows = len(maps) // 2
    figure = new_figure(9.4, 4.3 * rows)
    present = label.unique().tolist()
    texts = [printable(str(names[value])) for value in present]
    handles: list[Artist] = []
    for axes, (title, codes) in zip(
        figure.subplots(rows, 2, squeeze=False).flat, maps, strict=True
    ):
        places = _two_dimensions(codes[chosen.to(codes.device)])
        points = [places[(label == value).numpy()] for value in present]
        handles = _draw_points(axes, points, texts)
        axes.set_title(title, fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#cccccc")
        if len(present) > MOST_IN_LEGEND:
            _name_where_they_gather(axes, points, texts)
    if len(present) <= MOST_IN_LEGEND and not all(map(_is_letter, texts)):
        numbers = [str(rank) for rank in range(len(texts))]
        legend = figure.legend(
            handles, numbers, loc="outside right center", frameon=False, markerscale=1.6
        )
        # A name is no formula, and is shown if it begins with an underscore, which a label would
        # not be.
        for line, text in zip(legend.get_texts(), texts, strict=True):
            line.set_parse_math(False)
            line.set_text(_short(text))
    return figure


def _draw_points(axes: Axes, points: Sequence[np.ndarray], texts: Sequence[str]) -> list[Artist]:
    """The points of each label, told apart by colour and marker."""
    drawn: list[Artist] = []
    for rank, (here, text) in enumerate(zip(points, texts, strict=True)):
        # A letter or digit is its own marker: it reads without any colour at all.
        letter = _is_letter(text)
        drawn.append(
            axes.scatter(
                here[:, 0],
                here[:, 1],
                s=26 if letter else 11,
                linewidths=0,
                color=TOL_MUTED[rank % len(TOL_MUTED)],
                marker=f"${text}$" if letter else MARKERS[rank // len(TOL_MUTED) % len(MARKERS)],
            )
        )
    return drawn


def _name_where_they_gather(axes: Axes, points: Sequence[np.ndarray], texts: Sequence[str]) -> None:
    """Write the names of labels that gather in one place, where they hide no other."""
    everything = np.concatenate(points)
    low, width = everything.min(0), np.ptp(everything, axis=0) + 1e-9
    shares = [(here - low) / width for here in points]
    middles = [np.median(here, axis=0) for here in shares]
    spreads = [
        float(np.median(np.linalg.norm(here - middle, axis=1)))
        for here, middle in zip(shares, middles, strict=True)
    ]
    written: list[tuple[np.ndarray, float]] = []
    for rank in np.argsort(spreads, kind="stable"):
        # The end of a long name tells it from others of its super-group.
        text = texts[rank]
        if len(text) > _LONGEST_ON_MAP:
            text = f"\N{HORIZONTAL ELLIPSIS}{text[1 - _LONGEST_ON_MAP :]}"
        half = _LETTER[0] * len(text) / 2
        middle = np.array([middles[rank][0].clip(half, 1.0 - half), middles[rank][1]])
        free = all(
            abs(middle[0] - other[0]) > half + width_there or abs(middle[1] - other[1]) > _LETTER[1]
            for other, width_there in written
        )
        if spreads[rank] < GATHERED and free and not _is_letter(texts[rank]):
            written.append((middle, half))
            name = axes.annotate(
                text,
                low + middle * width,
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
            )
            name.set_parse_math(False)


def _short(text: str) -> str:
    """So that the names leave room for the figure."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _is_letter(text: str) -> bool:
    return len(text) == 1 and text.isascii() and text.isalnum()


def _two_dimensions(codes: Tensor) -> np.ndarray:
    from sklearn.manifold import TSNE

    values = codes.double().cpu().numpy()
    if values.shape[1] == 1:
        return np.column_stack([values[:, 0], np.random.default_rng(0).normal(size=len(values))])
    if values.shape[1] == 2 or len(values) < 10:
        return values[:, :2]
    perplexity = min(30.0, (len(values) - 1) / 3)
    # So few points gain nothing from threads, and lose much where the cores are busy.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(values)
