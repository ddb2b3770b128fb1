"""Models and guides by name: the library's, or a user's own from a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pyro_mlvae.data.scaling import NONE, Scaling
from pyro_mlvae.errors import InputError, unknown_name
from pyro_mlvae.files import memory_size
from pyro_mlvae.guides import (
    AdaGVAEGuide,
    AdaMLVAEGuide,
    AverageOfNormals,
    GroupedGuide,
    ProductOfNormals,
    ThreeLevelGuide,
    VAEGuide,
)
from pyro_mlvae.likelihoods import (
    CountsLikelihood,
    Likelihood,
    ObservedLikelihood,
    ScaledLikelihood,
)
from pyro_mlvae.models import MLVAE, VAE, MixturePriorMLVAE, ThreeLevelMLVAE
from pyro_mlvae.networks import (
    ConvDecoder,
    ConvEncoder,
    LogCountsEncoder,
    MLPDecoder,
    MLPEncoder,
    PosedDecoder,
    PosedEncoder,
    ScaledEncoder,
    StyleGivenContent,
)
from pyro_mlvae.runs.custom import custom_file, is_custom, load_class
from pyro_mlvae.runs.options import ModelOptions

AUTO = "auto"
_TWO_LEVEL = ("product-of-normals", "product-with-prior", "average-of-normals")
# Encoder, decoder, and the widths of their hidden layers unless others are named.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module], tuple[int, ...]]] = {
    "mlp": (MLPEncoder, MLPDecoder, (500,)),
    "conv": (ConvEncoder, ConvDecoder, (256,)),
    "posed": (PosedEncoder, PosedDecoder, (256,)),
}
SMALLEST_CONVOLVED = 16
# Of a parameter in training: itself, its gradient, and the two of Adam's state, in float32.
_BYTES = 16
# Every model with the guides that go with it, the one that "auto" means first.
MODELS: dict[str, tuple[type[MLVAE], tuple[str, ...]]] = {
    "mlvae": (MLVAE, _TWO_LEVEL),
    "vae": (VAE, ("vae", "ada-ml-vae", "ada-gvae")),
    "three-level": (ThreeLevelMLVAE, ("three-level",)),
    "mixture-prior": (MixturePriorMLVAE, _TWO_LEVEL),
}
GUIDES: dict[str, Callable[..., GroupedGuide]] = {
    "product-of-normals": ProductOfNormals,
    "product-with-prior": partial(ProductOfNormals, prior_expert=True),
    "average-of-normals": AverageOfNormals,
    "three-level": ThreeLevelGuide,
    "vae": VAEGuide,
    "ada-ml-vae": AdaMLVAEGuide,
    "ada-gvae": AdaGVAEGuide,
}


def choose_network(name: str, event_shape: Sequence[int]) -> str:
    """The name itself, or what "auto" stands for: conv for images of 16x16 and more, else mlp.

    >>> choose_network("auto", (1, 8, 8))
    'mlp'
    """
    if name != AUTO:
        return name
    image = len(event_shape) == 3 and min(event_shape[1:]) >= SMALLEST_CONVOLVED
    return "conv" if image else "mlp"


def choose_guide(name: str, model: str) -> str:
    """The name itself, or what "auto" stands for: the guide that goes with the model.

    >>> choose_guide("auto", "mlvae")
    'product-of-normals'
    """
    if name != AUTO:
        return name
    ancestry = _model_class(model).__mro__
    return next(guides[0] for base in ancestry for kind, guides in MODELS.values() if kind is base)


def check_names(model: str, guide: str) -> None:
    """Raise :class:`InputError` for names that are unknown, or known not to go together.

    Of a class in a file only the file has to be there: its code is not run yet.

    >>> check_names("mlvae", "average-of-normals")
    """
    for what, name, known in (("model", model, [*MODELS]), ("guide", guide, [AUTO, *GUIDES])):
        if is_custom(name):
            custom_file(name)
        elif name not in known:
            raise unknown_name(what, name, [*known, "path/to/file.py:Class"])
    if model in MODELS and guide in GUIDES and guide not in MODELS[model][1]:
        raise InputError(
            f"the model {model!r} goes with {' or '.join(MODELS[model][1])}, got the guide "
            f"{guide!r}: leave the guide out, or name one of these"
        )


def make_pair(
    options: ModelOptions,
    likelihood: Likelihood,
    event_shape: Sequence[int],
    scaling: Scaling | None,
    *,
    evidence: str,
    seed: int,
    most_parameters: int | None,
) -> tuple[MLVAE, GroupedGuide]:
    """The model and the guide with their initial weights, as :meth:`RunConfig.build` makes them."""
    dims = (options.content_dim, options.style_dim)
    make_encoder, make_decoder, hidden = NETWORKS[choose_network(options.network, event_shape)]
    hidden = options.hidden or hidden
    if most_parameters is None:
        most_parameters = memory_size() // _BYTES
    # Parameters made in inference mode could never be trained.
    with room_for(most_parameters), torch.random.fork_rng([]), torch.inference_mode(False):
        torch.manual_seed(seed)
        decoder = make_decoder(event_shape, *dims, likelihood.outputs, hidden=hidden)
        maker = _maker(options.guide, options.model)
        kind: Any = maker.func if isinstance(maker, partial) else maker
        encoder = make_encoder(event_shape, *dims, hidden=hidden, width=kind.width(*dims))
        style = StyleGivenContent(*dims) if options.style_given_content else None
        if isinstance(likelihood, CountsLikelihood):
            encoder = LogCountsEncoder(encoder)
            if scaling is not None and scaling.rate is not None:
                likelihood.start_at(scaling.rate)
        if scaling is not None:
            # Both are of x in its own units, around what computes with scaled x.
            if scaling.kind != NONE:
                likelihood = ScaledLikelihood(likelihood, scaling)
            if scaling.mean is not None:
                likelihood = ObservedLikelihood(likelihood)
            if not scaling.is_identity:
                encoder = ScaledEncoder(encoder, scaling)
        model = make_model(options.model, decoder, likelihood, *dims)
        return model, make_guide(options.guide, options.model, encoder, style, evidence=evidence)


def make_model(
    name: str, decoder: nn.Module, likelihood: Likelihood, content_dim: int, style_dim: int
) -> MLVAE:
    """The model of that name; a class in a file is called as :class:`MLVAE` is."""
    return _call(name, _model_class(name), decoder, likelihood, content_dim, style_dim)


def make_guide(
    name: str,
    model: str,
    encoder: nn.Module,
    style_given_content: nn.Module | None,
    *,
    evidence: str = "whole",
) -> GroupedGuide:
    """The guide of that name, or the one that goes with the model.

    A class in a file is called as :class:`GroupedGuide` is: with the encoder, with
    ``style_given_content`` if style is to depend on content, and with ``evidence`` unless it is the
    whole.
    """
    options: dict[str, Any] = {}
    if style_given_content is not None:
        options["style_given_content"] = style_given_content
    if evidence != "whole":
        options["evidence"] = evidence
    return _call(name, _maker(name, model), encoder, **options)


class room_for(TorchFunctionMode):
    """Where networks are made: refuses more parameters than these, before they are allocated.

    >>> with room_for(1000):
    ...     layer = nn.Linear(10**9, 10**9)
    Traceback (most recent call last):
    ...
    pyro_mlvae.errors.InputError: there is room for 1,000 parameters, but the networks have more
    """

    def __init__(self, parameters: int) -> None:
        super().__init__()
        self._most = self._left = parameters

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let a function of torch's run, unless it makes what there is no room for."""
        kwargs = kwargs or {}
        if func in (torch.empty, torch.zeros, torch.ones, torch.randn):
            sides = args or (kwargs["size"],)
            self._left -= math.prod(sides[0] if isinstance(sides[0], tuple | list) else sides)
            if self._left < 0:
                raise InputError(
                    f"there is room for {self._most:,} parameters, but the networks have more"
                )
        return func(*args, **kwargs)


def _maker(name: str, model: str) -> Any:
    name = choose_guide(name, model)
    return load_class(name, GroupedGuide) if is_custom(name) else GUIDES[name]


def _model_class(name: str) -> type[MLVAE]:
    return load_class(name, MLVAE) if is_custom(name) else MODELS[name][0]


def _call(name: str, make: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return make(*arguments, **options)
    except TypeError as error:
        if not is_custom(name):
            raise
        words = ", ".join([*(type(argument).__name__ for argument in arguments), *options])
        raise InputError(
            f"{name} could not be made from ({words}): its __init__ must take these, as that of "
            f"the class it derives from does ({str(error).splitlines()[0]})"
        ) from error
