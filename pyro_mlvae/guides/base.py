"""The base of every guide: sites and plates, once; a guide fills in the posterior of content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
from jaxtyping import Float
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.groups import Groups
from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.guides.random_part import EVIDENCE, RandomPart, parted, without_last
from pyro_mlvae.ops import Evidence, mean_of, normal_from_parameters

Posterior = Callable[[Tensor, Groups], Any]


class GroupedGuide(PyroModule):
    """The variational family of the Multi-Level VAE, but for the posterior of content::

        features_i = encoder(x_i)                               one vector per observation
        q(C_G | X_G) = content_posterior(features, groups)      site "content", one per group
        q(S_i | x_i, C_G) = style_posterior(features, content)  site "style", one per observation

    Args:
        encoder: any module from ``x [N, *event_shape]`` to features ``[N, width]``. The first
            features are content's, the last ``2 * style_dim`` loc and log scale of style.
        style_given_content: makes style depend on content, such as :class:`StyleGivenContent`: from
            the features of style ``[N, 2 * style_dim]`` and ``content [..., N, content]`` to those
            of style given content.
        content_dim: size of content; by default the encoder's attribute of that name.
        style_dim: size of style, likewise.
        evidence: which observations a group's content is inferred from in training: the "whole"
            group, or a "random-part" that is drawn anew in every step, see
            :mod:`pyro_mlvae.guides.random_part`.

    A subclass defines :meth:`content_posterior`, and :meth:`content_width` if it asks for other
    features than a loc and a log scale of content. Training, codes, evidence and evaluation all go
    through these methods.

    Raises:
        InputError: the sizes are neither given nor the encoder's, or ``evidence`` is unknown; and,
            when the guide is run, features or a posterior are of the wrong shape.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        style_given_content: nn.Module | None = None,
        content_dim: int | None = None,
        style_dim: int | None = None,
        evidence: str = "whole",
    ) -> None:
        if evidence not in EVIDENCE:
            raise unknown_name("evidence", evidence, EVIDENCE)
        # The name keeps the guide's parameters apart from the model's in Pyro's parameter store.
        super().__init__(name="guide")
        self.encoder = encoder
        self.style_given_content = style_given_content
        self.content_dim = _size("content_dim", content_dim, encoder)
        self.style_dim = _size("style_dim", style_dim, encoder)
        self.random_part = evidence == "random-part"

    @classmethod
    def content_width(cls, content_dim: int) -> int:
        """How many features of content the guide asks of its encoder, for each observation."""
        return 2 * content_dim

    @classmethod
    def width(cls, content_dim: int, style_dim: int) -> int:
        """How many features the guide asks of its encoder: content's, then style's."""
        return cls.content_width(content_dim) + 2 * style_dim

    def encode(self, x: Float[Tensor, "observations ..."]) -> Float[Tensor, "observations width"]:
        """The features of single observations; what they mean is the guide's business."""
        return self.encoder(x)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The features of content and those of style."""
        content = features.shape[-1] - 2 * self.style_dim
        return features[..., :content], features[..., content:]

    def content_posterior(
        self, features: Float[Tensor, "observations width"], groups: Groups
    ) -> TorchDistributionMixin:
        """q(C_G | X_G) of every group: batch shape ``[num_groups]``, event shape ``[content]``.

        Args:
            features: of each observation, as :meth:`encode` gives them.
            groups: which observation is in which group, and the user's fields of both.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define content_posterior(features, groups)"
        )

    def style_posterior(
        self,
        features: Float[Tensor, "observations width"],
        content: Float[Tensor, "*particles observations content"],
    ) -> TorchDistributionMixin:
        """q(S_i | x_i, C_G): batch shape ``[..., N]``, event shape ``[style]``.

        Args:
            features: of each observation.
            content: the content of each observation's group.
        """
        _, style = self.split(features)
        if self.style_given_content is not None:
            style = self.style_given_content(style, content)
        return normal_from_parameters(style).to_event(1)

    def codes(
        self, features: Float[Tensor, "observations width"], groups: Groups
    ) -> tuple[TorchDistributionMixin, TorchDistributionMixin]:
        """Posteriors of content and style of single observations, each taken by itself.

        Where style depends on content, content is the mean of q(C | x_i): that of the observation's
        group would carry into style what the other observations say.
        """
        content = self.checked_content(features, groups.alone())
        return content, self.style_posterior(features, mean_of(content))

    @property
    def multiplies_normals(self) -> bool:
        """Whether content is a product of one Normal an observation, so that evidence adds."""
        return False

    def evidence(self, features: Float[Tensor, "observations width"], groups: Groups) -> Evidence:
        """What the observations say of their groups' content, as a value that adds.

        Raises:
            InputError: the posterior of this guide is no product, so that nothing adds.
        """
        raise InputError(
            f"evidence adds only where the posterior of content is a product, which that of "
            f"{type(self).__name__} is not: use ProductOfNormals, or content_posterior of all "
            f"observations"
        )

    def checked_content(self, features: Tensor, groups: Groups) -> TorchDistributionMixin:
        """:meth:`content_posterior`, where features and posterior are checked for their shapes."""
        if features.ndim != 2 or len(features) != len(groups):
            raise InputError(
                f"features must be [N, width] with one row for each of the {len(groups)} "
                f"observations, got shape {list(features.shape)}: let encode(x) return one vector "
                f"an observation"
            )
        posterior = self.content_posterior(features, groups)
        shapes = (tuple(posterior.batch_shape), tuple(posterior.event_shape))
        if shapes != ((groups.num_groups,), (self.content_dim,)):
            raise InputError(
                f"content_posterior must return one distribution a group, of batch shape "
                f"[{groups.num_groups}] and event shape [{self.content_dim}], got batch shape "
                f"{list(shapes[0])} and event shape {list(shapes[1])}: end it with .to_event(1), "
                f"and use groups.group and groups.num_groups"
            )
        return posterior

    def of_evidence(self, posterior: Posterior, features: Tensor, groups: Groups) -> Any:
        """``posterior(features, groups)``; in training, of a random part if the guide is made so.

        ``posterior`` gives a distribution of every group, such as :meth:`checked_content`.
        """
        if not (self.random_part and self.training):
            return posterior(features, groups)
        choice: Any = RandomPart(groups)
        part = pyro.sample("evidence_part", choice, infer={"is_auxiliary": True})
        return without_last(posterior(*parted(features, groups, part)))

    def draw_content(
        self, features: Tensor, groups: Groups
    ) -> Float[Tensor, "*particles groups content"]:
        """Draw the content of every group, in Pyro; a guide with more latents overrides it."""
        posterior = self.of_evidence(self.checked_content, features, groups)
        with pyro.plate("groups", groups.num_groups, dim=-1):
            content: Tensor = pyro.sample("content", posterior)
        return content

    def forward(self, batch: GroupedBatch) -> Tensor:
        """Draw content and style of ``batch`` from the posterior, in Pyro.

        Returns:
            The features, from which penalties form codes without encoding again.
        """
        features = self.encode(batch.x)
        content = self.draw_content(features, batch.groups)
        with pyro.plate("observations", len(batch), dim=-1):
            # index_select, not content[..., group, :], whose backward is not deterministic.
            own_content = content.index_select(-2, batch.group)
            pyro.sample("style", self.style_posterior(features, own_content))
        return features


def _size(name: str, given: int | None, encoder: Any) -> int:
    size = getattr(encoder, name, None) if given is None else given
    if not isinstance(size, int):
        raise InputError(
            f"the guide must know {name}, which its encoder {type(encoder).__name__} does not say: "
            f"pass {name}=..., or give the encoder an attribute of that name"
        )
    return size
