"""The same model, guide and objective in NumPyro, whose step is one function that JAX compiles.

A test shows that the loss is ours, for the same weights and the same draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from handwritten import LOG_SCALE_BOUND
from numpyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_mlvae import GroupedBatch, MLPDecoder, MLPEncoder

Program = Callable[[jax.Array, jax.Array], None]


def programs(encoder: nn.Module, decoder: nn.Module, num_groups: int) -> tuple[Program, Program]:
    """The model and the guide, functions of ``x`` and ``group``, scaled to the mean over groups.

    Args:
        encoder: an ``MLPEncoder``, whose weights are copied.
        decoder: an ``MLPDecoder``, likewise.
        num_groups: how many groups every batch has.
    """
    assert isinstance(encoder, MLPEncoder)
    assert isinstance(decoder, MLPDecoder)
    content_dim, style_dim = decoder.dims
    encoding, decoding = weights(encoder.layers), weights(decoder.layers)

    def model(x: jax.Array, group: jax.Array) -> None:
        with numpyro.plate("groups", num_groups):
            content = numpyro.sample(
                "content", dist.Normal(jnp.zeros(content_dim), 1.0).to_event(1)
            )
        with numpyro.plate("observations", len(x)):
            style = numpyro.sample("style", dist.Normal(jnp.zeros(style_dim), 1.0).to_event(1))
            latents = jnp.concatenate([content[group], style], -1)
            loc, raw = jnp.split(network("decoder", decoding, latents), 2, -1)
            numpyro.sample("x", dist.Normal(loc, jnp.exp(0.5 * jnp.tanh(raw))).to_event(1), obs=x)

    def guide(x: jax.Array, group: jax.Array) -> None:
        content, style = jnp.split(network("encoder", encoding, x), [2 * content_dim], -1)
        expert_loc, expert_log_scale = halves(content)
        # The product of a group's Normals: precisions add.
        precision = jnp.exp(-2.0 * expert_log_scale)
        total = jax.ops.segment_sum(precision, group, num_groups)
        loc = jax.ops.segment_sum(precision * expert_loc, group, num_groups) / total
        with numpyro.plate("groups", num_groups):
            numpyro.sample("content", dist.Normal(loc, total**-0.5).to_event(1))
        style_loc, style_log_scale = halves(style)
        with numpyro.plate("observations", len(x)):
            numpyro.sample("style", dist.Normal(style_loc, jnp.exp(style_log_scale)).to_event(1))

    scale = 1.0 / num_groups
    return numpyro.handlers.scale(model, scale), numpyro.handlers.scale(guide, scale)


def weights(layers: nn.Sequential) -> list[tuple[jax.Array, jax.Array]]:
    """Copies of the weights of every linear layer."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return [(array(layer.weight).T, array(layer.bias)) for layer in linear]


def array(tensor: Tensor) -> jax.Array:
    """A copy for JAX."""
    return jnp.array(tensor.detach().cpu().numpy())


def network(name: str, layers: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    """Linear layers with tanh between them; their weights are trained."""
    for i, (weight, bias) in enumerate(layers):
        x = jnp.tanh(x) if i else x
        x = x @ numpyro.param(f"{name}.{i}.weight", weight) + numpyro.param(
            f"{name}.{i}.bias", bias
        )
    return x


def halves(parameters: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Locs, and log scales that stay within their bound."""
    loc, raw = jnp.split(parameters, 2, -1)
    return loc, LOG_SCALE_BOUND * jnp.tanh(raw / LOG_SCALE_BOUND)


def numpyro_step(
    encoder: nn.Module, decoder: nn.Module, batch: GroupedBatch, learning_rate: float = 1e-3
) -> Callable[[], float]:
    """Steps on one batch: loss, gradient and Adam's update, compiled as one."""
    model, guide = programs(encoder, decoder, batch.num_groups)
    svi = SVI(model, guide, numpyro.optim.Adam(learning_rate), Trace_ELBO())
    data = array(batch.x.flatten(1)), array(batch.group)
    state: Any = svi.init(jax.random.PRNGKey(0), *data)
    update = jax.jit(svi.update)

    def step() -> float:
        nonlocal state
        state, loss = update(state, *data)
        return float(loss)

    return step
