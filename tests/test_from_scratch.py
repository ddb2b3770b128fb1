"""The example in plain PyTorch computes what the library computes."""

import importlib
from pathlib import Path

import pyro
import pytest
import torch
from exactly import FixedNoise, KeepGradients
from pyro.infer import SVI

from pyro_mlvae import MLVAE, GroupedBatch, MLPDecoder, MLPEncoder, Objective, ProductOfNormals
from pyro_mlvae.likelihoods import LearnedNormalLikelihood

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("sizes", [[1], [3, 1, 7, 2], [1] * 12])
def test_its_loss_and_gradients_are_those_of_a_step_of_the_library(monkeypatch, dtype, rtol, sizes):
    shape, dims = (1, 8, 8), (3, 2)
    model = MLVAE(MLPDecoder(shape, *dims, outputs=2), LearnedNormalLikelihood(), *dims).to(dtype)
    guide = ProductOfNormals(MLPEncoder(shape, *dims)).to(dtype)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(len(group))]
    batch = GroupedBatch(torch.rand(len(group), *shape, dtype=dtype), group, len(sizes))
    content_noise = torch.randn(len(sizes), dims[0], dtype=dtype)
    style_noise = torch.randn(len(group), dims[1], dtype=dtype)

    optimizer = KeepGradients()
    noise = FixedNoise(content=content_noise, style=style_noise)
    with pyro.get_param_store().scope():
        ours = SVI(model, noise(guide), optimizer, loss=Objective()).step(batch)

    monkeypatch.syspath_prepend(EXAMPLES)
    from_scratch = importlib.import_module("from_scratch")
    by_hand = from_scratch.MLVAE(guide.encoder.layers, model.decoder.layers, *dims)
    by_hand.zero_grad(set_to_none=True)
    loss = by_hand(batch.x, batch.group, batch.num_groups, content_noise, style_noise)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(ours, rel=rtol)
    parameters = list(by_hand.parameters())
    assert set(parameters) == set(optimizer.kept)
    for parameter in parameters:
        # Entries are sums of terms that cancel, so that rounding is relative to the largest.
        scale = float(parameter.grad.abs().max())
        torch.testing.assert_close(
            optimizer.kept[parameter], parameter.grad, rtol=0, atol=rtol * scale
        )
