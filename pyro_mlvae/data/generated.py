"""Data drawn by code: the linear-Gaussian groups, whose truth :mod:`pyro_mlvae.solved` knows."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_mlvae.data.batch import GroupedBatch
from pyro_mlvae.data.dataset import GroupedDataset
from pyro_mlvae.errors import InputError


def orthogonal_loadings(
    dim: int, content_dim: int, style_dim: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Random mutually orthogonal loadings of content and style, and an offset.

    Returns:
        ``[dim, content_dim]`` and ``[dim, style_dim]``, with columns of length 1.0 to 2.0, and
        ``[dim]``.

    Raises:
        InputError: there are more columns than dimensions, or none.
    """
    if min(content_dim, style_dim) < 1 or content_dim + style_dim > dim:
        raise InputError(
            f"content_dim and style_dim must be positive and their sum at most dim, got "
            f"{content_dim} + {style_dim} with dim {dim}"
        )
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=dtype))
    lengths = 1.0 + torch.rand(content_dim + style_dim, generator=generator, dtype=dtype)
    loading = basis[:, : content_dim + style_dim] * lengths
    offset = torch.randn(dim, generator=generator, dtype=dtype)
    return loading[:, :content_dim], loading[:, content_dim:], offset


def sample_linear(
    content_loading: Tensor,
    style_loading: Tensor,
    offset: Tensor,
    noise_scale: float,
    sizes: Tensor,
    *,
    seed: int = 0,
) -> GroupedBatch:
    """Draw groups of given sizes: content and style from N(0, I), x linear in both with noise."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.repeat_interleave(torch.arange(len(sizes)), sizes)

    def noise(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=offset.dtype)

    content = noise(len(sizes), content_loading.shape[1])
    style = noise(len(group), style_loading.shape[1])
    mean = offset + content[group] @ content_loading.mT + style @ style_loading.mT
    return GroupedBatch(mean + noise_scale * noise(len(group), len(offset)), group, len(sizes))


def load_linear_gaussian() -> GroupedDataset:
    """Draws from the solved model: 200 groups of 2 to 20 observations in 16 dimensions."""
    sizes = torch.randint(2, 21, (200,), generator=torch.Generator().manual_seed(0))
    batch = sample_linear(*orthogonal_loadings(16, 3, 2), 0.5, sizes)
    return GroupedDataset.from_arrays(batch.x.float(), batch.group)
