"""What the U-Nets of others have in common: convolutions, norms, attention, embedded levels."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn


def conv(inward: int, outward: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inward, outward, kernel, padding=kernel // 2)


def norm(channels: int, eps: float, least: int = 4) -> nn.GroupNorm:
    """Groups of ``least`` channels or more, at most 32 of them."""
    return nn.GroupNorm(min(32, channels // least), channels, eps=eps)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax(qᵀk/√c) v of (B, c, pixels): what every pixel reads from all."""
    weights = torch.einsum("ncq,nck->nqk", q, k / math.sqrt(k.shape[1])).softmax(dim=2)
    return torch.einsum("nqk,nck->ncq", weights, v)


class Positional(nn.Module):
    """Cos and sin of c 10000^{−k/K}, k < n/2; K = n/2, or n/2 − 1 with ``endpoint``."""

    def __init__(self, channels: int, *, endpoint: bool) -> None:
        super().__init__()
        half = channels // 2
        powers = torch.arange(half, dtype=torch.float32) / (half - (1 if endpoint else 0))
        self.register_buffer("rates", (1 / 10000) ** powers, persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        """(B,) to (B, channels)."""
        angle = torch.outer(c, cast(Tensor, self.rates).to(c.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class Fourier(nn.Module):
    """Cos and sin of 2π f_k c with stored f_k."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 16 * torch.randn(channels // 2))

    def forward(self, c: Tensor) -> Tensor:
        """(B,) to (B, channels)."""
        angle = torch.outer(c, (2 * math.pi * cast(Tensor, self.freqs)).to(c.dtype))
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def one_of(name: str, value: str, *allowed: str) -> None:
    """Raise ``ValueError`` unless the value is allowed."""
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}; {', '.join(allowed)} are allowed")
