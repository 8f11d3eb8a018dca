r"""The training images nearest to each sample, in pixels, and whether samples are copies of them.

    d(x) = min over training images of √(mean over pixels (x − y)²)

Test images are what samples would be if the network had learned the law and nothing more: their
distances say how near is near. Samples of a network that memorised are nearer than test images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.metrics.extractors import as_bytes
from experiments.terminal import Tick

BLOCK = 8192
"""Training images at a time."""
QUANTILE = 0.01
"""A sample is very near where one in a hundred test images is as near."""


@dataclass(frozen=True, eq=False)
class Nearest:
    """Distances (N, k), increasing, and the places of these training images, (N, k)."""

    distance: Tensor
    index: Tensor


@dataclass(frozen=True)
class Copies:
    """How near samples are to training images, beside test images.

    Attributes:
        median, test_median: of d, in units in which pixels go from −1 to 1.
        very_near: share of samples nearer than the hundredth part of test images that is nearest;
            0.01 for images of the law itself.
        images, tests: how many.
    """

    median: float
    test_median: float
    very_near: float
    images: int
    tests: int


def nearest(
    images: Tensor,
    training: Tensor,
    *,
    count: int = 1,
    block: int = BLOCK,
    progress: Tick | None = None,
) -> Nearest:
    """Of images (N, C, H, W) among training images of the same shape; bytes, or in [−1, 1].

    Distances are computed anew in float64 for those found, so a copy has the distance zero.

    Raises:
        ValueError: other shapes, or fewer training images than asked for.
    """
    if images.shape[1:] != training.shape[1:]:
        raise ValueError(
            f"images: got {tuple(images.shape[1:])}; the training images'"
            f" {tuple(training.shape[1:])} are allowed"
        )
    if not 1 <= count <= len(training):
        raise ValueError(f"count: got {count}; 1 to {len(training)} is allowed")
    x = as_bytes(images).flatten(1).float()
    best = torch.full((len(x), 0), torch.inf), torch.zeros(len(x), 0, dtype=torch.int64)
    for at in range(0, len(training), block):
        y = as_bytes(training[at : at + block]).flatten(1).float()
        here = torch.arange(at, at + len(y)).expand(len(x), -1)
        squares = y.square().sum(1) - 2 * x @ y.mT
        merged = torch.cat([best[0], squares], 1), torch.cat([best[1], here], 1)
        values, places = merged[0].topk(min(count, merged[0].shape[1]), largest=False)
        best = values, merged[1].gather(1, places)
        if progress is not None:
            progress(min(at + block, len(training)), len(training), "nearest images")
    found = as_bytes(training[best[1].flatten()]).flatten(1).double()
    gaps = found.reshape(len(x), count, -1) - x.double()[:, None]
    distance = gaps.square().mean(2).sqrt() / 127.5
    order = distance.argsort(1)
    return Nearest(distance.gather(1, order), best[1].gather(1, order))


def copies(images: Nearest, tests: Nearest) -> Copies:
    """Samples beside test images, each with its nearest training image."""
    mine, theirs = images.distance[:, 0], tests.distance[:, 0]
    bound = torch.quantile(theirs, QUANTILE)
    share = float((mine < bound).double().mean())
    return Copies(float(mine.median()), float(theirs.median()), share, len(mine), len(theirs))
