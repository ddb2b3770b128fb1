"""Augmentation: the same groups in fresh variations, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import Sampler, mixed_seed
from pyro_mlvae.errors import InputError, require_seed, unknown_name


class AffineJitter:
    """Another sampler's minibatches, every image turned, stretched, sheared and shifted a little.

    What is drawn anew for every image is style: a group's content has to hold in spite of it.

    Args:
        sampler: the sampler, of images ``[N, channels, height, width]``.
        degrees: rotation, at most.
        scale: change of the log of width and of height, at most.
        shear: shear, at most.
        shift: shift as a part of the image's side, at most.
        seed: of the draws.

    What comes in from outside the image goes on as its edge is: white paper stays white.

    >>> from pyro_mlvae import GroupSampler, load_dataset
    >>> jittered = AffineJitter(GroupSampler(load_dataset("digits"), 10, 4), degrees=5)
    >>> [batch.x.shape for batch in jittered.epoch(0)]
    [torch.Size([40, 1, 8, 8])]
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        degrees: float = 10.0,
        scale: float = 0.1,
        shear: float = 0.15,
        shift: float = 0.07,
        seed: int = 0,
    ) -> None:
        require_seed(seed)
        self.sampler = sampler
        self.degrees, self.scale, self.shear, self.shift = degrees, scale, shear, shift
        self.seed = seed

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, number))
        for batch in self.sampler.epoch(number):
            _require_images("affine jitter", batch.event_shape)
            theta = self._transformations(len(batch), generator).to(batch.x)
            grid = functional.affine_grid(theta, list(batch.x.shape), align_corners=False)
            yield _of_x(
                batch,
                functional.grid_sample(batch.x, grid, padding_mode="border", align_corners=False),
            )

    def _transformations(self, count: int, generator: torch.Generator) -> Tensor:
        draws = 2.0 * torch.rand(6, count, generator=generator) - 1.0
        angle = draws[0] * math.radians(self.degrees)
        wide, high = (draws[1] * self.scale).exp(), (draws[2] * self.scale).exp()
        shear, across, down = (
            draws[3] * self.shear,
            2 * draws[4] * self.shift,
            2 * draws[5] * self.shift,
        )
        first = torch.stack([angle.cos() * wide, shear - angle.sin() * high, across], -1)
        second = torch.stack([angle.sin() * wide, angle.cos() * high, down], -1)
        return torch.stack([first, second], 1)


class HorizontalFlip:
    """Another sampler's minibatches, every image mirrored with a chance of one half.

    For photographs: a mirrored letter or digit is another one, or none.

    Args:
        sampler: the sampler, of images ``[N, channels, height, width]``.
        seed: of the draws.

    >>> from pyro_mlvae import GroupSampler, load_dataset
    >>> flipped = HorizontalFlip(GroupSampler(load_dataset("digits"), 10, 4))
    >>> [batch.x.shape for batch in flipped.epoch(0)]
    [torch.Size([40, 1, 8, 8])]
    """

    def __init__(self, sampler: Sampler, *, seed: int = 0) -> None:
        require_seed(seed)
        self.sampler, self.seed = sampler, seed

    def epoch(self, number: int) -> Iterator[GroupedBatch]:
        # Another stream of draws than a jitter of the same seed has.
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, number, 1))
        for batch in self.sampler.epoch(number):
            _require_images("a flip", batch.event_shape)
            flipped = torch.rand(len(batch), generator=generator) < 0.5
            flipped = flipped.to(batch.x.device)[:, None, None, None]
            yield _of_x(batch, torch.where(flipped, batch.x.flip(-1), batch.x))


AUGMENTATIONS = {"affine": AffineJitter, "flip": HorizontalFlip}


def augmented(
    sampler: Sampler, names: Sequence[str], event_shape: Sequence[int], *, seed: int
) -> Sampler:
    """A sampler with augmentations by name, in order: "affine" (:class:`AffineJitter`) and "flip".

    Args:
        sampler: the sampler.
        names: of :data:`AUGMENTATIONS`.
        event_shape: the shape of an observation.
        seed: of the draws.

    Raises:
        InputError: a name is unknown, or observations are no images.

    >>> from pyro_mlvae import GroupSampler, load_dataset
    >>> data = load_dataset("digits")
    >>> both = augmented(GroupSampler(data, 10, 4), ["flip", "affine"], data.event_shape, seed=0)
    >>> [batch.x.shape for batch in both.epoch(0)]
    [torch.Size([40, 1, 8, 8])]
    """
    check_augmentations(names)
    for name in names:
        _require_images(f"augment {name!r}", event_shape)
        sampler = AUGMENTATIONS[name](sampler, seed=seed)
    return sampler


def check_augmentations(names: Sequence[str]) -> None:
    """Raise :class:`InputError` for a name that is none of :data:`AUGMENTATIONS`."""
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown_name("augment", name, [*AUGMENTATIONS])


def _require_images(what: str, event_shape: Sequence[int]) -> None:
    if len(event_shape) != 3:
        raise InputError(
            f"{what} takes images [N, channels, height, width], got x of shape [N, "
            f"{', '.join(map(str, event_shape))}]: train on those without it"
        )


def _of_x(batch: GroupedBatch, x: Tensor) -> GroupedBatch:
    """The batch with other observations, which carries all that the batch does."""
    return GroupedBatch.trusted(x, **vars(batch.groups))
