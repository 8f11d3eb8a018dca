"""Images side by side in one picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

MARGIN = 2
SMALLEST = 56
"""Pixels that an image is enlarged to, by whole factors."""


def tiled(images: Tensor) -> Image:
    """A square of images (N, C, H, W) in [−1, 1], of one or three channels, row by row.

    Raises:
        ValueError: another number of channels.
    """
    from PIL import Image

    count, channels, height, width = images.shape
    if channels not in (1, 3):
        raise ValueError(f"sheet: got images of {channels} channels; 1 or 3 are allowed")
    across = math.ceil(math.sqrt(count))
    factor = max(1, SMALLEST // width)
    rows, columns = height * factor + MARGIN, width * factor + MARGIN
    bytes_ = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    large = bytes_.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    whole = torch.full((channels, math.ceil(count / across) * rows, across * columns), 255)
    for i, image in enumerate(large):
        y, x = i // across * rows, i % across * columns
        whole[:, y : y + rows - MARGIN, x : x + columns - MARGIN] = image
    array = whole.to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if channels == 1 else array)
