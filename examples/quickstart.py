"""Train the Multi-Level VAE on real handwritten digits, and swap their content and style.

Run: python examples/quickstart.py [--smoke]
"""

import sys
from pathlib import Path

import torch

from pyro_mlvae import (
    MLVAE,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ObservationSampler,
    ProductOfNormals,
    fit,
    load_dataset,
)
from pyro_mlvae.evaluation import elbo_metrics, probe_metrics
from pyro_mlvae.plotting import save_figure, swap_figure

epochs = 2 if "--smoke" in sys.argv else 200

# Observations in groups: 1,797 drawings of ten digits. What the drawings of a digit share is their
# content; what each adds is its style.
train, test = load_dataset("digits").split(0.2, seed=0)

# The generative model p(x | content, style), and the guide: a group's content posterior is the
# product of the Normals that its observations give.
torch.manual_seed(0)
content_dim, style_dim = 16, 4
decoder = MLPDecoder(train.event_shape, content_dim, style_dim)
model = MLVAE(decoder, NormalLikelihood(scale=0.2), content_dim, style_dim)
guide = ProductOfNormals(MLPEncoder(train.event_shape, content_dim, style_dim))

fit(
    model,
    guide,
    ObservationSampler(train, observations_per_batch=160),
    epochs=epochs,
    callback=lambda record: print(
        f"\repoch {record.epoch}: {record.objective:.1f} nats/group", end=""
    ),
)

elbo = elbo_metrics(model, guide, test)
print("\nheld-out ELBO, nats per observation:", round(elbo["per_observation"], 2))
probe = probe_metrics(guide, train, test, ks=(1, 5))
print(
    "accuracy of a probe on content, from 1 drawing:", round(probe["content"]["1"]["accuracy"], 3)
)
print("accuracy of a probe on a draw of style:", round(probe["style"]["draws"]["accuracy"], 3))

save_figure(swap_figure(model, guide, test), Path("swap.png"))
