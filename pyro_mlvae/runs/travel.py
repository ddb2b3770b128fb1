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
from pyro_mlvae.networks import ConvDecoder, MLPDecoder, PosedDecoder
from pyro_mlvae.networks.mlp import ACTIVATIONS
from pyro_mlvae.networks.posed import UNITS

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
        Its layers in order, the last of which is the link from the decoder's first output to the
        mean; their weights in half precision, ``layer.0.weight`` and so on, with ``unit`` and
        ``shift`` of the link; and why it cannot travel, as a part of a sentence, empty where it
        can. It has no layers then.

    >>> from pyro_mlvae import MLPDecoder
    >>> layers, _, why = travelling(MLVAE(MLPDecoder((4,), 2, 1), NormalLikelihood(), 2, 1))
    >>> [layer["kind"] for layer in layers], why
    (['dense', 'tanh', 'dense', 'identity'], '')
    """
    decoder: Any = model.decoder
    likelihood: Any = model.likelihood
    shift, unit = torch.zeros(1), torch.ones(1)
    if isinstance(likelihood, ObservedLikelihood):
        likelihood = likelihood.likelihood
    if isinstance(likelihood, ScaledLikelihood):
        shift, unit, likelihood = likelihood.shift, likelihood.unit, likelihood.likelihood
    if type(model).observation is not MLVAE.observation:
        return [], {}, f"{type(model).__name__} makes x in a way of its own"
    if type(decoder) not in (MLPDecoder, ConvDecoder, PosedDecoder):
        return [], {}, f"{type(decoder).__name__} is not one of the library's decoders"
    if type(likelihood) not in _LINKS:
        return [], {}, f"{type(likelihood).__name__} is not one of the library's likelihoods"
    link = _LINKS[type(likelihood)]
    if isinstance(likelihood, CountsLikelihood):
        unit, link = likelihood.rate, "softmax" if likelihood.library_size else link
    if isinstance(decoder, PosedDecoder):
        layers, weights = _layers(decoder.inner)
        pose = {
            "kind": "pose",
            "from": decoder.dims[0],
            "units": UNITS,
            "shape": decoder.event_shape,
        }
        layers = [*layers, pose]
    else:
        layers, weights = _layers(decoder)
    count = sum(value.numel() for value in weights.values())
    if count > MOST_PARAMETERS:
        return [], {}, f"the decoder has {count:,} parameters, and a page takes {MOST_PARAMETERS:,}"
    halves = {name: value.half() for name, value in weights.items()}
    if not all(value.isfinite().all() for value in halves.values()):
        return [], {}, "the decoder has weights that half precision cannot hold"
    ends = {"unit": unit.float().flatten(), "shift": shift.float().flatten()}
    return [*layers, {"kind": link}], halves | ends, ""


def _layers(decoder: Any) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """What a decoder computes, layer by layer, and its weights; of its outputs the first alone."""
    layers: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    shape: tuple[int, ...] = ()
    for module in decoder.layers:
        if isinstance(module, nn.Unflatten):
            shape = tuple(module.unflattened_size)
            continue
        layer: dict[str, Any] = {"kind": _NAMES.get(type(module), "dense")}
        if isinstance(module, nn.ConvTranspose2d):
            odd = module.output_padding
            made = (module.out_channels, 2 * shape[1] + int(odd[0]), 2 * shape[2] + int(odd[1]))
            layer = {"kind": "deconvolve", "from": shape, "to": made}
            shape = made
        layers.append(layer)
        for name, value in module.named_parameters():
            weights[f"layer.{len(layers) - 1}.{name}"] = value
    weight, bias = (f"layer.{len(layers) - 1}.{name}" for name in ("weight", "bias"))
    first = len(weights[bias]) // decoder.outputs
    if shape:
        layers[-1]["to"] = (first, *shape[1:])
        weights[weight] = weights[weight][:, :first]
    else:
        weights[weight] = weights[weight][:first]
    weights[bias] = weights[bias][:first]
    return layers, weights
