"""Whose gradient it is: the content encoder's, the style encoder's or the decoder's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

PARTS = ("content_encoder", "style_encoder", "decoder")


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a parameter.

    Attributes:
        parameter: the parameter.
        start: the first of them.
        stop: the one after the last, None for all that follow.
    """

    parameter: Tensor
    start: int = 0
    stop: int | None = None

    def gradient(self) -> Tensor:
        """The gradient of those rows, flat, in float64; zero if the loss ignores them."""
        gradient = self.parameter.grad
        if gradient is None:
            gradient = torch.zeros_like(self.parameter)
        if not gradient.ndim:
            return gradient.detach().reshape(1).double()
        return gradient[self.start : self.stop].detach().flatten().double()


def gradient_parts(model: nn.Module, guide: nn.Module) -> dict[str, list[Piece]]:
    """The pieces of each part of :data:`PARTS`; a part without any has no gradient to speak of.

    - In our encoders a trunk is shared, and the rows of its last layer are those of content's loc
      and scale, then of style's: each head is its part's, the trunk is neither's.
    - Any other parameter of the guide belongs to the one of "content" and "style" that its name
      mentions first, and a ``shift`` to style; to neither where it mentions none.
    - All parameters of the model are the decoder's.

    No parameter's row is in two parts. Frozen parameters are in none.

    >>> from pyro_mlvae.solved import LinearGaussian, LinearGaussianGuide, LinearGaussianModel
    >>> solved = LinearGaussian.orthogonal(dim=6, content_dim=2, style_dim=1)
    >>> parts = gradient_parts(LinearGaussianModel(solved), LinearGaussianGuide.exact(solved))
    >>> {part: len(pieces) for part, pieces in parts.items()}  # the solved model is frozen
    {'content_encoder': 3, 'style_encoder': 4, 'decoder': 0}
    """
    parts: dict[str, list[Piece]] = {part: [] for part in PARTS}
    shared: set[int] = set()
    encoder = getattr(guide, "encoder", None)
    if isinstance(encoder, nn.Module):
        heads = _heads(encoder)
        if heads is not None:
            last, border = heads
            shared = {id(parameter) for parameter in encoder.parameters()}
            for parameter in last.parameters():
                if parameter.requires_grad:
                    parts["content_encoder"].append(Piece(parameter, 0, border))
                    parts["style_encoder"].append(Piece(parameter, border))
    for name, parameter in guide.named_parameters():
        if parameter.requires_grad and id(parameter) not in shared:
            part = _part_of(name)
            if part is not None:
                parts[part].append(Piece(parameter))
    parts["decoder"] = [
        Piece(parameter) for parameter in model.parameters() if parameter.requires_grad
    ]
    return parts


def _heads(encoder: nn.Module) -> tuple[nn.Linear, int] | None:
    """The last layer of an encoder with a shared trunk, and the row where style's begin."""
    layers, style_dim = getattr(encoder, "layers", None), getattr(encoder, "style_dim", None)
    if not isinstance(layers, nn.Sequential) or not isinstance(style_dim, int):
        return None
    last = layers[-1]
    # How many rows are content's is the guide's choice.
    return (last, last.out_features - 2 * style_dim) if isinstance(last, nn.Linear) else None


def _part_of(name: str) -> str | None:
    """The part that a parameter of the guide belongs to by its name.

    "style_given_content" is a network for style: what is mentioned first is what it makes.
    """
    words = {"content": "content_encoder", "style": "style_encoder", "shift": "style_encoder"}
    places = {name.find(word): part for word, part in words.items() if word in name}
    return places[min(places)] if places else None
