"""Settings of a run under one name, from which a command line starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By the name that --preset takes. "paper" is arXiv 1705.08841: one hidden layer of 500 tanh units,
# a Normal likelihood with a variance for each value of x, a product of Normals over content, style
# that is inferred from x alone, and the ELBO with nothing added. A preset names every option of the
# model and the objective, so that it stays what it is when a default changes.
_PAPER: Mapping[str, Any] = {
    "model": "mlvae",
    "guide": "product-of-normals",
    "style_given_content": False,
    "likelihood": "normal-learned",
    "likelihood_scale": None,
    "library_size": False,
    "missing": "refuse",
    "content_dim": 10,
    "style_dim": 10,
    "network": "mlp",
    "hidden": (500,),
    "elbo": "trace",
    "num_particles": 1,
    "alpha": None,
    "inner": None,
    "evidence": "whole",
    "beta_content": 1.0,
    "beta_style": 1.0,
    "warmup_steps": 0,
    "free_bits_content": 0.0,
    "free_bits_style": 0.0,
    "target_content": None,
    "target_style": None,
    "target_weight": 10.0,
    "aggregate_style": 0.0,
    "hsic": 0.0,
    "style_cycle": 0.0,
    "pair_switching": 0.0,
    "learning_rate": 1e-3,
}
# "unseen-images" is what told characters of unseen alphabets and scripts apart best:
# docs/unseen-groups.md.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": _PAPER,
    "unseen-images": {
        **_PAPER,
        "guide": "product-with-prior",
        "style_given_content": True,
        "likelihood": "normal",
        "content_dim": 32,
        "style_dim": 10,
        "network": "posed",
        "hidden": (256,),
        "evidence": "random-part",
        "groups_per_batch": 12,
        "observations_per_group": 14,
        "augment": ("affine",),
        "learning_rate": 2e-3,
    },
}
