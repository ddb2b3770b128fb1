r"""One style, decoded with two contents, is read as one style.

.. math:: \sum_i \tfrac{1}{2} \big( KL(q_i \,\|\, r_i) + KL(r_i \,\|\, q_i) \big), \qquad
    q_i = q(S \mid \hat{x}(C_{G(i)}, s_i)), \quad r_i = q(S \mid \hat{x}(C_{G'}, s_i)), \quad s_i
    \sim p(S)

with :math:`\hat{x}` the mean of x, and G' another group of the minibatch. Style that tells the
content would be read differently off the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_mlvae.errors import InputError
from pyro_mlvae.ops import mean_of
from pyro_mlvae.penalties.base import Latents, Penalty, require_weight


@dataclass(frozen=True)
class StyleCycle(Penalty):
    """The divergence between the styles that are read off one style with two contents.

    Attributes:
        weight: of one nat; in nats per observation.

    Styles are drawn from the prior, one an observation; contents are those that the guide has
    drawn, an observation's own and the next group's. Decodings are constants: the gradient is the
    encoder's alone, as in the reference, whose distance this replaces by the symmetric divergence.
    It encodes twice as many observations as there are. A minibatch of one group is not penalised.

    Raises:
        InputError: the weight is no number of at least 0; and, when it is used, the model cannot
            decode or the guide has no codes, there is no content of groups, or style's divergence
            has no closed form.

    Reference: Jha et al. (2018), "Disentangling factors of variation with cycle-consistent
    variational auto-encoders", arXiv 1804.10469.

    >>> StyleCycle(weight=1.0)
    StyleCycle(weight=1.0)
    """

    weight: float

    def __post_init__(self) -> None:
        require_weight(weight=self.weight)

    def __call__(self, latents: Latents) -> Tensor:
        batch = latents.batch
        if latents.decode is None or latents.read is None:
            raise InputError(
                "the style cycle needs a model that decodes and a guide that has codes: derive "
                "them from MLVAE and GroupedGuide"
            )
        content = latents.value("content")
        if content.shape[-2] != batch.num_groups:
            raise InputError(
                f"the style cycle needs one content for each of the {batch.num_groups} groups, got "
                f"{content.shape[-2]}: it is of no use to a model that knows nothing of groups"
            )
        if batch.num_groups == 1:
            return 0.0 * content.sum()
        with torch.no_grad():
            # Of several particles, one.
            content = content.reshape(-1, *content.shape[-2:])[0]
            style = latents.prior("style").sample()
            style = style.reshape(-1, len(batch), style.shape[-1])[0]
            others = (batch.group + 1) % batch.num_groups
            decoded = [
                mean_of(latents.decode(content.index_select(0, group), style))
                for group in (batch.group, others)
            ]
        own, other = (latents.read(x)[1] for x in decoded)
        try:
            divergence = kl_divergence(own, other) + kl_divergence(other, own)
        except NotImplementedError as error:
            raise InputError(
                f"the style cycle needs a style whose divergence has a closed form, such as "
                f"Normals, got {type(own).__name__}: use HSIC instead"
            ) from error
        return 0.5 * self.weight * divergence.sum()
