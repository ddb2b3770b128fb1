"""A decoder as a list of layers that a few lines of JavaScript compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_mlvae.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    CountsLikelihood,
    FeatureNormalLikelihood,
    LearnedNormalLikelihood,
    Likelihood,
    NormalLikelihood,
    ObservedLikelihood,
    ScaledLikelihood,
)
from pyro_mlvae.models import MLVAE
from pyro_mlvae.networks import ConvDecoder, MLPDecoder
from pyro_mlvae.networks.mlp import ACTIVATIONS

# Parameters that travel at most, 4 MB as trained and 2 MB on the way.
MOST_PARAMETERS = 1_000_000
# What takes the decoder's first output to the mean of x, before its unit.
_LINKS: dict[type[Likelihood], str] = {
    NormalLikelihood: "identity",
    FeatureNormalLikelihood: "identity",
    LearnedNormalLikelihood: "identity",
    BernoulliLikelihood: "sigmoid",
    ContinuousBernoulliLikelihood: "continuous-bernoulli",
    CountsLikelihood: "exp",
}
_NAMES = {kind: name for name, kind in ACTIVATIONS.items()}


def travelling(model: MLVAE) -> tuple[list[dict[str, Any]], dict[str, Tensor], str]:
    """The decoder of the mean of x.

    Returns:
        Its layers in order, the last of which is the link from the decoder's first output to the mean;
        their weights in half precision, ``layer.0.weight`` and so on, with ``unit`` and ``shift`` of the
        link; and why it cannot travel, as a part of a sentence, empty where it can. It has no layers then.

    >>> from pyro_mlvae import MLPDecoder
    >>> layers, _, why = travelling(MLVAE(MLPDecoder((4,), 2, 1), NormalLikelihood(), 2, 1))
    >>> [layer["kind"] for layer in layers], why
    (['dense', 'tanh', 'dense', 'identity'], '')
    """
    decoder: Any = model.decoder
    likelihood: Any = model.likelihood
    weights: dict[str, Tensor] = {}
    shift, unit = torch.zeros(1), torch.ones(1)
    if type(model).observation is not MLVAE.observation:
        return [], {}, f"{type(model).__name__} makes x in a way of its own"
    if type(decoder) not in (MLPDecoder, ConvDecoder):
        return (
            [],
            {},
            f"the page computes an MLPDecoder or a ConvDecoder, and this is a {type(decoder).__name__}",
        )
    if isinstance(likelihood, ObservedLikelihood):
        likelihood = likelihood.likelihood
    if isinstance(likelihood, ScaledLikelihood):
        shift, unit, likelihood = likelihood.shift, likelihood.unit, likelihood.likelihood
    if type(likelihood) not in _LINKS:
        return [], {}, f"{type(likelihood).__name__} is not one of the library's likelihoods"
    link = _LINKS[type(likelihood)]
    if isinstance(likelihood, CountsLikelihood):
        unit, link = likelihood.rate, "softmax" if likelihood.library_size else link
    layers: list[dict[str, Any]] = []
    shape: tuple[int, ...] = (sum(decoder.dims),)
    for module in decoder.layers:
        if isinstance(module, nn.Unflatten):
            shape = tuple(module.unflattened_size)
            continue
        layer: dict[str, Any] = {"kind": _NAMES.get(type(module), "dense")}
        if isinstance(module, nn.ConvTranspose2d):
            odd = module.output_padding
            out = (module.out_channels, 2 * shape[1] + int(odd[0]), 2 * shape[2] + int(odd[1]))
            layer = {"kind": "deconvolve", "from": shape, "to": out}
            shape = out
        layers.append(layer)
        for name, value in module.named_parameters():
            weights[f"layer.{len(layers) - 1}.{name}"] = value
    # Of the last layer the first output alone: the mean needs no other.
    last = f"layer.{len(layers) - 1}"
    if "from" in layers[-1]:
        channels, *sides = layers[-1]["to"]
        channels //= decoder.outputs
        layers[-1]["to"] = (channels, *sides)
        weights[f"{last}.weight"] = weights[f"{last}.weight"][:, :channels]
    else:
        channels = decoder.event_shape.numel()
        weights[f"{last}.weight"] = weights[f"{last}.weight"][:channels]
    weights[f"{last}.bias"] = weights[f"{last}.bias"][:channels]
    count = sum(value.numel() for value in weights.values())
    if count > MOST_PARAMETERS:
        return (
            [],
            {},
            f"the decoder has {count:,} parameters, more than the {MOST_PARAMETERS:,} that a page takes",
        )
    halves = {name: value.half() for name, value in weights.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        return [], {}, "the decoder has weights that half precision cannot hold"
    ends = {"unit": unit.float().flatten(), "shift": shift.float().flatten()}
    return [*layers, {"kind": link}], halves | ends, ""
