"""The VAE of independent observations: the baseline that knows nothing of groups."""

from __future__ import annotations

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.models.mlvae import MLVAE


class VAE(MLVAE):
    """The Multi-Level VAE with every observation a group of its own, which is a VAE::

        z_i = (C_i, S_i) ~ N(0, I)           one per observation     sites "content" and "style"
        x_i ~ p(x | z_i; theta)              decoder network         site "x"

    The same networks and the same total latent size: all that is taken away is the group. The two
    parts of its latent keep their names, so that whatever is done with an ML-VAE can be done with
    it, but nothing gives them different roles.

    Reference: Kingma, Welling (2013), arXiv 1312.6114.

    >>> import pyro, torch
    >>> from pyro_mlvae import MLPDecoder, NormalLikelihood
    >>> vae = VAE(MLPDecoder((4,), content_dim=2, style_dim=1), NormalLikelihood(), 2, 1)
    >>> batch = GroupedBatch(torch.zeros(3, 4), torch.tensor([0, 0, 1]), num_groups=2)
    >>> pyro.poutine.trace(vae).get_trace(batch).nodes["content"]["value"].shape
    torch.Size([3, 2])
    """

    def forward(self, batch: GroupedBatch) -> None:
        """The story of ``batch``, whose groups are ignored, in Pyro."""
        super().forward(batch.singletons())
