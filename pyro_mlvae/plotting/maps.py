"""A map of the latent space in two dimensions."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits
from torch import Tensor

from pyro_mlvae.errors import printable
from pyro_mlvae.plotting.style import new_figure, plain

# Tol's "muted", with black for its pale grey: ten colours told apart with any kind of colour vision.
TOL_MUTED = (
    "#332288",
    "#CC6677",
    "#117733",
    "#DDCC77",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#000000",
)
# Letters of a name in the legend.
_LONGEST = 40


@plain
def latent_map(
    content: Tensor, style: Tensor, label: Tensor, names: Sequence[Hashable], *, most: int = 2000
) -> Figure:
    """Content and style of single observations, laid out by t-SNE, coloured by label.

    Args:
        content: locs of content, ``[N, content]``.
        style: locs of style, ``[N, style]``.
        label: index of each observation's label, ``[N]``.
        names: what the labels are called.
        most: of more observations than this, a seeded choice is drawn.
    """
    if len(label) > most:
        chosen = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))[:most]
        content, style, label = content[chosen], style[chosen], label[chosen]
    figure = new_figure(9.4, 4.3)
    panels = figure.subplots(1, 2)
    present = label.unique().tolist()
    texts = [_short(printable(str(names[value]))) for value in present]
    handles: dict[int, Artist] = {}
    colours = ListedColormap(TOL_MUTED) if len(present) <= 10 else colormaps["viridis"]
    for axes, codes, title in zip(
        panels,
        (content, style),
        ("Content of single observations", "Style of single observations"),
        strict=True,
    ):
        place = _two_dimensions(codes)
        for rank, value in enumerate(present):
            position = rank if len(present) <= 10 else rank / max(len(present) - 1, 1)
            here = (label == value).numpy()
            text = texts[rank]
            # A letter or digit is its own marker: it reads without any colour at all.
            marker, size = (f"${text}$", 26) if _is_letter(text) else ("o", 9)
            dots = axes.scatter(
                *place[here].T, s=size, linewidths=0, color=colours(position), marker=marker
            )
            handles.setdefault(rank, dots)
        axes.set_title(title, fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#cccccc")
    if len(present) <= 12 and not all(map(_is_letter, texts)):
        numbers = map(str, handles)
        legend = figure.legend(
            handles.values(), numbers, loc="outside right center", frameon=False, markerscale=1.6
        )
        # A name is no formula, and is shown if it begins with an underscore, which a label would not be.
        for line, text in zip(legend.get_texts(), texts, strict=True):
            line.set_parse_math(False)
            line.set_text(text)
    return figure


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
