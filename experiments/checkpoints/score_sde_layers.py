"""The layers of score_sde's networks, with the authors' names of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad, silu

from experiments.checkpoints.layers import attended, conv, norm
from experiments.checkpoints.resampling import ConvDown, Resample


class Plain(nn.Module):
    """Half the size by means of four pixels, or twice by repeating each."""

    def __init__(self, *, up: bool) -> None:
        super().__init__()
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        """X at the other size."""
        return interpolate(x, scale_factor=2.0, mode="nearest") if self.up else avg_pool2d(x, 2)


def resizing(taps: Sequence[float] | None, *, up: bool) -> nn.Module:
    """Half or twice the size without parameters."""
    return Resample(taps, up=up, stored=False) if taps else Plain(up=up)


class Resized(nn.Module):
    """Half or twice the size with a convolution of kernel three."""

    def __init__(self, inward: int, outward: int, *, up: bool) -> None:
        super().__init__()
        self.up, self.Conv_0 = up, nn.Conv2d(inward, outward, 3, *((1, 1) if up else (2, 0)))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution at the other size."""
        wide = (
            interpolate(x, scale_factor=2.0, mode="nearest") if self.up else pad(x, (0, 1, 0, 1))
        )
        return self.Conv_0(wide)


class Smoothed(nn.Module):
    """Half the size by the filter with a convolution of kernel three."""

    def __init__(self, inward: int, outward: int, taps: Sequence[float]) -> None:
        super().__init__()
        self.Conv2d_0 = ConvDown(inward, outward, 3, taps=taps, stored=False)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution at half the size."""
        return self.Conv2d_0(x)


class Mix(nn.Module):
    """A linear map of the channels at every pixel: x W + b."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(inward, outward) / math.sqrt(inward))
        self.b = nn.Parameter(torch.zeros(outward))

    def forward(self, x: Tensor) -> Tensor:
        """X W + b."""
        return torch.einsum("bchw,cd->bdhw", x, self.W) + self.b[:, None, None]


class Attention(nn.Module):
    """X + W softmax(qᵀk/√c) v over all pixels, over √2 where rescaled."""

    def __init__(self, channels: int, *, root: float, least: int) -> None:
        super().__init__()
        self.GroupNorm_0, self.root = norm(channels, 1e-6, least), root
        self.NIN_0, self.NIN_1 = Mix(channels, channels), Mix(channels, channels)
        self.NIN_2, self.NIN_3 = Mix(channels, channels), Mix(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """X with what the pixels read from each other."""
        h = self.GroupNorm_0(x)
        q, k, v = (f(h).flatten(2) for f in (self.NIN_0, self.NIN_1, self.NIN_2))
        return (x + self.NIN_3(attended(q, k, v).reshape(x.shape))) / self.root


class Residual(nn.Module):
    """skip(x) + W₁ silu(norm(W₀ silu(norm x) + noise level)), resized on both ways where asked."""

    def __init__(
        self,
        inward: int,
        outward: int,
        *,
        emb: int,
        root: float,
        least: int,
        linear: bool,
        resize: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.root, self.resize, self.skip = root, resize, ""
        self.GroupNorm_0, self.Conv_0 = norm(inward, 1e-6, least), conv(inward, outward, 3)
        self.Dense_0 = nn.Linear(emb, outward) if emb else None
        self.GroupNorm_1, self.Conv_1 = norm(outward, 1e-6, least), conv(outward, outward, 3)
        if linear and inward != outward:
            self.skip, self.NIN_0 = "NIN_0", Mix(inward, outward)
        elif inward != outward or resize:
            self.skip, self.Conv_2 = "Conv_2", conv(inward, outward, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """The block at x, (B, C, H, W), and the embedded label, (B, emb)."""
        h = silu(self.GroupNorm_0(x))
        if self.resize:
            h, x = self.resize(h), self.resize(x)
        h = self.Conv_0(h)
        if self.Dense_0:
            h = h + self.Dense_0(silu(emb))[:, :, None, None]
        h = self.Conv_1(silu(self.GroupNorm_1(h)))
        return ((getattr(self, self.skip)(x) if self.skip else x) + h) / self.root


class Combine(nn.Module):
    """The image pyramid joins the features: as a sum or as more channels."""

    def __init__(self, inward: int, outward: int, method: str) -> None:
        super().__init__()
        self.Conv_0, self.method = conv(inward, outward, 1), method

    def forward(self, image: Tensor, h: Tensor) -> Tensor:
        """H joined by the image."""
        seen = self.Conv_0(image)
        return seen + h if self.method == "sum" else torch.cat([seen, h], dim=1)


class Projection(nn.Module):
    """Sin and cos of 2π W log σ with stored W."""

    def __init__(self, count: int, scale: float) -> None:
        super().__init__()
        self.W = nn.Parameter(scale * torch.randn(count), requires_grad=False)

    def forward(self, label: Tensor) -> Tensor:
        """(B,) to (B, 2 count)."""
        angle = 2 * math.pi * torch.outer(label.log(), self.W)
        return torch.cat([angle.sin(), angle.cos()], dim=1)


def positional(label: Tensor, count: int) -> Tensor:
    """Sin and cos of label 10000^{−k/(n/2−1)}."""
    half = count // 2
    powers = torch.arange(half, dtype=label.dtype, device=label.device) / (half - 1)
    angle = torch.outer(label, (-math.log(10000) * powers).exp())
    return pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, count % 2))
