"""Operations on the latent space: what contents and styles decode to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_mlvae.data.groups import Groups
from pyro_mlvae.data.samplers import mixed_seed
from pyro_mlvae.errors import InputError, require_positive, require_seed, unknown_name
from pyro_mlvae.estimators.programs import in_mode
from pyro_mlvae.models import MLVAE

VARY = ("grid", "content", "style", "both")
# Within three scales of the prior lies almost all that the decoder was trained on.
TRAVERSED = (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0)


@torch.no_grad()
def decode(
    model: MLVAE,
    content: Float[Tensor, "*batch content"],
    style: Float[Tensor, "*batch2 style"],
    like: Tensor | None = None,
) -> Tensor:
    """The mean of x given content and style; leading dimensions broadcast.

    Args:
        model: the trained model.
        content, style: the latents.
        like: observations whose totals the means have, ``[*batch2, *event_shape]``, where the
            likelihood takes totals as given; by default the mean total of the training part.

    Raises:
        InputError: the last dimension of one of them is not the model's, or x has no mean.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> decode(model, torch.zeros(5, 2), torch.zeros(5, 1)).shape
    torch.Size([5, 4])
    """
    for name, value, dim in (
        ("content", content, model.content_dim),
        ("style", style, model.style_dim),
    ):
        if value.shape[-1:] != (dim,):
            raise InputError(
                f"{name} must have a last dimension of {dim}, the model's {name}_dim, got shape "
                f"{list(value.shape)}: take it from the guide that was trained with this model"
            )
    with in_mode(model, training=False):
        observation = model.observation(content, style)
    try:
        mean: Tensor = observation.mean
    except NotImplementedError:
        mean = torch.full((), torch.nan)
    if mean.isnan().all():
        base = getattr(observation, "base_dist", observation)
        raise InputError(
            f"a {type(base).__name__} has no mean that could be shown: take a likelihood that has "
            f"one, or draw from model.observation(content, style)"
        )
    return mean if like is None else model.likelihood.mean_like(mean, like.to(mean))


def swap(
    model: MLVAE,
    content: Float[Tensor, "rows content"],
    style: Float[Tensor, "columns style"],
    like: Float[Tensor, "columns ..."] | None = None,
) -> Float[Tensor, "rows columns ..."]:
    """Decode every content with every style; ``like`` is what gave the styles.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> swap(model, torch.zeros(5, 2), torch.zeros(3, 1)).shape
    torch.Size([5, 3, 4])
    """
    return decode(model, content.unsqueeze(1), style.unsqueeze(0), like)


def interpolate(
    model: MLVAE,
    content: Float[Tensor, "*ends content"],
    style: Float[Tensor, "*ends2 style"],
    steps: int = 8,
    *,
    vary: str = "grid",
) -> Tensor:
    """Decode along straight lines between two contents and between two styles, ends included.

    Args:
        model: the trained model.
        content: the two ends, ``[2, content]``.
        style: the two ends, ``[2, style]``.
        steps: points on each line, of which the ends are two.
        vary: "grid" (every content on its line with every style on its own), "content" (with the
            style of the first end), "style" (with the content of the first end), or "both" at once,
            which is the diagonal of the grid.

    Returns:
        ``[steps, steps, *event_shape]`` for "grid", content along rows and style along columns;
        ``[steps, *event_shape]`` for the others.

    Raises:
        InputError: ``vary`` is not known, there are fewer than 2 steps, or the ends are not of the
            model's shapes.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> interpolate(model, torch.randn(2, 2), torch.randn(2, 1), steps=5).shape
    torch.Size([5, 5, 4])
    >>> interpolate(model, torch.randn(2, 2), torch.randn(2, 1), steps=5, vary="style").shape
    torch.Size([5, 4])
    """
    if vary not in VARY:
        raise unknown_name("way to vary", vary, VARY)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise InputError(f"steps must be a whole number of at least 2, the two ends, got {steps!r}")
    _require_shape("content", content, (2, model.content_dim), "its two ends")
    _require_shape("style", style, (2, model.style_dim), "its two ends")
    contents, styles = _line(content, steps), _line(style, steps)
    if vary == "grid":
        return swap(model, contents, styles)
    return decode(
        model,
        content[0] if vary == "style" else contents,
        style[0] if vary == "content" else styles,
    )


def generate(
    model: MLVAE,
    *,
    content: Float[Tensor, "*rows content"] | None = None,
    style: Float[Tensor, "*columns style"] | None = None,
    contents: int = 8,
    styles: int = 8,
    groups: Groups | None = None,
    seed: int = 0,
) -> Tensor:
    """Decode every content with every style, those given and otherwise draws from the prior.

    Args:
        model: the trained model.
        content: contents, ``[rows, content]``; by default draws of ``model.content_prior(groups)``.
        style: styles, ``[columns, style]``; by default draws of ``model.style_prior(groups)``.
        contents: how many contents are drawn, where none are given.
        styles: how many styles are drawn, where none are given.
        groups: groups of one observation each, at least as many as are drawn, for models whose
            priors depend on fields; by default groups of which nothing is known.
        seed: of the draws; contents and styles are drawn apart, so that the draws of the one are
            the same whatever is said of the other. The caller's random state stays as it is.

    Returns:
        ``[rows, columns, *event_shape]``.

    Raises:
        InputError: what is given is not of the model's shapes, or a count or the seed is no such
            number.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> generate(model, contents=3, styles=2).shape
    torch.Size([3, 2, 4])
    """
    require_positive(contents=contents, styles=styles)
    require_seed(seed)
    given: list[Tensor] = []
    like = next((p for p in model.parameters()), torch.zeros(()))
    for name, value, prior, count, dim in (
        ("content", content, model.content_prior, contents, model.content_dim),
        ("style", style, model.style_prior, styles, model.style_dim),
    ):
        if value is None:
            index = torch.arange(count, device=like.device)
            own = Groups(index, count)
            if groups is not None:
                own = groups.to(like.device, like.dtype).members(index)
            with torch.random.fork_rng([like.device] if like.device.type == "cuda" else []):
                torch.manual_seed(mixed_seed(seed, len(given)))
                value = prior(own).expand([count]).sample()
        elif value.ndim != 2 or not len(value):
            raise InputError(
                f"{name} must be of shape [n, {dim}] with n of at least 1, got "
                f"{list(value.shape)}: leave it out to draw from the prior"
            )
        given.append(value)
    return swap(model, *given)


def traverse(
    model: MLVAE,
    content: Float[Tensor, "*content"],
    style: Float[Tensor, "*style"],
    which: str = "content",
    values: Sequence[float] | Tensor = TRAVERSED,
) -> Tensor:
    """Decode with one dimension at a time set to each of ``values``, all else held.

    Args:
        model: the trained model.
        content: one content, ``[content]``.
        style: one style, ``[style]``.
        which: the one that is changed, "content" or "style".
        values: what each of its dimensions is set to; the prior's scale is 1.

    Returns:
        One row a dimension: ``[dim, len(values), *event_shape]``.

    Raises:
        InputError: ``which`` is not known, there are no values, or content or style is not of the
            model's shape.

    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> model = MLVAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> traverse(model, torch.zeros(2), torch.zeros(1), "content", [-1.0, 0.0, 1.0]).shape
    torch.Size([2, 3, 4])
    """
    latents = {"content": content, "style": style}
    if which not in latents:
        raise unknown_name("latent to traverse", which, latents)
    _require_shape("content", content, (model.content_dim,), "a single one")
    _require_shape("style", style, (model.style_dim,), "a single one")
    own = latents[which]
    to = torch.as_tensor(values, dtype=own.dtype, device=own.device)
    if to.ndim != 1 or not len(to):
        raise InputError(
            f"values must be a list of at least one number, got shape {list(to.shape)}"
        )
    changed = torch.eye(len(own), dtype=torch.bool, device=own.device).unsqueeze(1)
    moved = torch.where(changed, to.unsqueeze(-1), own)
    return decode(model, moved, style) if which == "content" else decode(model, content, moved)


def _line(ends: Tensor, steps: int) -> Tensor:
    """Points on the straight line between two ends, which are reached exactly: ``[steps, dim]``."""
    along = torch.linspace(0.0, 1.0, steps, dtype=ends.dtype, device=ends.device)
    return ends[0].lerp(ends[1], along.unsqueeze(-1))


def _require_shape(name: str, value: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(value.shape) != shape:
        raise InputError(
            f"{name} must be of shape {list(shape)}, {what}, got {list(value.shape)}: the last "
            f"dimension is the model's {name}_dim"
        )
