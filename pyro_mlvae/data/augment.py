"""Augmentation: the same groups in fresh variations, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.samplers import Sampler, mixed_seed
from pyro_mlvae.errors import InputError, require_seed


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

    What comes in from outside the image is zero.

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
            if batch.x.ndim != 4:
                raise InputError(
                    f"affine jitter takes images [N, channels, height, width], got x of shape "
                    f"{list(batch.x.shape)}: train on those without it"
                )
            theta = self._transformations(len(batch), generator).to(batch.x)
            grid = functional.affine_grid(theta, list(batch.x.shape), align_corners=False)
            x = functional.grid_sample(batch.x, grid, align_corners=False)
            yield GroupedBatch.trusted(x, batch.group, batch.num_groups, batch.parent, batch.num_parents)

    def _transformations(self, count: int, generator: torch.Generator) -> Tensor:
        draws = 2.0 * torch.rand(6, count, generator=generator) - 1.0
        angle = draws[0] * math.radians(self.degrees)
        wide, high = (draws[1] * self.scale).exp(), (draws[2] * self.scale).exp()
        shear, across, down = draws[3] * self.shear, 2 * draws[4] * self.shift, 2 * draws[5] * self.shift
        first = torch.stack([angle.cos() * wide, shear - angle.sin() * high, across], -1)
        second = torch.stack([angle.sin() * wide, angle.cos() * high, down], -1)
        return torch.stack([first, second], 1)
