"""Networks: encoders from x to features, decoders from latents to the parameters of x."""

from pyro_mlvae.networks.conditional import StyleGivenContent
from pyro_mlvae.networks.conv import ConvDecoder, ConvEncoder
from pyro_mlvae.networks.mlp import MLPDecoder, MLPEncoder
from pyro_mlvae.networks.posed import PosedDecoder, PosedEncoder
from pyro_mlvae.networks.scaled import LogCountsEncoder, ScaledEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "LogCountsEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "PosedDecoder",
    "PosedEncoder",
    "ScaledEncoder",
    "StyleGivenContent",
]
