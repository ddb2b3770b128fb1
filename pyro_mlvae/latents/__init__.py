"""What a trained pair says: its codes, evidence, and what latents decode to."""

from pyro_mlvae.latents.decoding import TRAVERSED, decode, generate, interpolate, swap, traverse
from pyro_mlvae.latents.embedding import embed
from pyro_mlvae.latents.encoding import Codes, encode, experts, gather_evidence, group_content

__all__ = [
    "TRAVERSED",
    "Codes",
    "decode",
    "embed",
    "encode",
    "experts",
    "gather_evidence",
    "generate",
    "group_content",
    "interpolate",
    "swap",
    "traverse",
]
