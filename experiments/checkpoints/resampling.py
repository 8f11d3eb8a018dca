r"""Half and twice the size by a filter f with ∑f = 1, the outer product of the given taps.

Down is f at every other pixel, up is 4f laid at every other pixel; alone, or as one layer with a
convolution of odd kernel before or after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d


class Resample(nn.Module):
    """Half or twice the size by a filter; no other parameter."""

    def __init__(
        self, taps: Sequence[float], *, up: bool, pad: bool = True, stored: bool = True
    ) -> None:
        super().__init__()
        f = torch.tensor([float(v) for v in taps])
        f = torch.outer(f, f) / f.sum() ** 2
        self.register_buffer("resample_filter", f[None, None], persistent=stored)
        self.up, self.pad = up, (len(taps) - 1) // 2 if pad else 0

    def resampled(self, x: Tensor) -> Tensor:
        """x, (B, C, H, W), at another size."""
        f = cast(Tensor, self.resample_filter).to(x.dtype)
        f = f.expand(x.shape[1], 1, *f.shape[2:])
        if self.up:
            return conv_transpose2d(x, 4 * f, groups=x.shape[1], stride=2, padding=self.pad)
        return conv2d(x, f, groups=x.shape[1], stride=2, padding=self.pad)

    def forward(self, x: Tensor) -> Tensor:
        """X at the other size."""
        return self.resampled(x)


class ResampledConv(Resample):
    """Resample, then a convolution of odd kernel."""

    def __init__(
        self, inward: int, outward: int, kernel: int, *, taps: Sequence[float], up: bool
    ) -> None:
        super().__init__(taps, up=up)
        self.weight, self.bias = _weights(inward, outward, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of the resampled x."""
        padding = self.weight.shape[-1] // 2
        return conv2d(self.resampled(x), self.weight, self.bias, padding=padding)


class ConvDown(Resample):
    """A convolution, then half the size, with all the padding before both."""

    def __init__(
        self, inward: int, outward: int, kernel: int, *, taps: Sequence[float], stored: bool = True
    ) -> None:
        super().__init__(taps, up=False, pad=False, stored=stored)
        self.weight, self.bias = _weights(inward, outward, kernel)
        self.before = kernel // 2 + (len(taps) - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """The resampled convolution of x."""
        x = conv2d(x, self.weight, padding=self.before)
        return self.resampled(x) + self.bias[:, None, None]


def _weights(inward: int, outward: int, kernel: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of a convolution, drawn as torch draws them."""
    drawn = nn.Conv2d(inward, outward, kernel)
    return nn.Parameter(drawn.weight), nn.Parameter(cast(Tensor, drawn.bias))
