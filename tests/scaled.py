"""A guide made wrong on purpose, for diagnostics to find."""

import pyro.distributions as dist
from pyro.poutine.messenger import Messenger


class ScaledMessenger(Messenger):
    """Every Normal that the guide draws from gets ``factor`` times its scale."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def _pyro_sample(self, msg):
        if msg["name"] in ("super_content", "content", "style"):
            normal = msg["fn"].base_dist
            msg["fn"] = dist.Normal(normal.mean, self.factor * normal.stddev).to_event(1)


def scaled(guide, factor):
    """``guide`` with scales ``factor`` times its own."""
    return ScaledMessenger(factor)(guide)
