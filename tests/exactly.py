"""What tests of single steps share: noise that is fixed, and gradients that are kept."""

import torch
from pyro.optim import PyroOptim
from pyro.poutine.messenger import Messenger


class FixedNoise(Messenger):
    """Draws ``loc + scale * noise[site]`` where the guide would draw at random."""

    def __init__(self, **noise):
        super().__init__()
        self.noise = noise

    def _pyro_sample(self, msg):
        if msg["name"] in self.noise:
            normal = msg["fn"].base_dist
            msg["value"] = normal.loc + normal.scale * self.noise[msg["name"]]


class KeepGradients(PyroOptim):
    """Moves nothing, and keeps the gradients that it would have moved by."""

    def __init__(self):
        super().__init__(torch.optim.SGD, {})

    def __call__(self, params):
        self.kept = {p: p.grad.clone() for p in params}
