r"""Distances between two sets of features, by torchmetrics, each with its own standard error.

    Frechet    |m − m'|² + tr(C + C' − 2 (C C')^{1/2}),    of the Gaussians with the sets' moments
    kernel     E k(a, a*) + E k(b, b*) − 2 E k(a, b),    k(a, b) = (aᵀb/d + 1)³, pairs of two apart
    score      exp E KL(p(y|image) ‖ E p(y|image)),    with Inception's classes y

The first is biased upwards, by less the more images there are: two figures compare at equal
numbers of images only. The second has no bias, so it may be negative. The error of the first is
that of the images alone, with the data as they are: a jackknife leaves out one group of them after
another. That of the second is from disjoint blocks of both, the third's from disjoint splits.

Sources: Heusel et al. 2017, arXiv 1706.08500; Binkowski et al. 2018, arXiv 1801.01401; Salimans et
al. 2016, arXiv 1606.03498; Kunsch 1989 for groups left out.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.metrics.inception import Inception
from experiments.terminal import Tick

FRECHET, KERNEL = "Frechet distance", "kernel distance"
PUBLISHED = {FRECHET: "FID", KERNEL: "KID"}
GROUPS = 10
"""Left out one after the other; and splits of a score."""
BLOCK = 1000
"""Images in a block of the kernel distance, or fewer where there are fewer."""
LEAST = 10
"""Images in a block."""


@dataclass(frozen=True)
class Figure:
    """A number of a set of images, its standard error, and what it was computed from.

    Attributes:
        name: which number in which space; only Inception's is called FID.
        error: None where there are too few blocks to tell.
        images, data: how many of the set and of data.
    """

    name: str
    value: float
    error: float | None
    images: int
    data: int | None


def named(kind: str, title: str) -> str:
    """Of a distance in the space of an extractor; Inception's have their published names."""
    return PUBLISHED[kind] if title == Inception.title else f"{kind}, {title}"


class _Given(nn.Module):
    """Features as they come: a metric's extractor where they are known already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet(
    images: Tensor, data: Tensor, title: str, *, groups: int = GROUPS, progress: Tick | None = None
) -> Figure:
    """Of features (N, d) and (M, d), float64.

    ``groups`` < 2 leaves the error out, which costs as many distances.

    Raises:
        ValueError: no more images than features, so that a covariance has no full rank.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    d = _same(images, data)
    fewest = len(images) - (-(-len(images) // groups) if groups > 1 else 0)
    for name, count in (("images", fewest), ("data", len(data))):
        if count <= d:
            raise ValueError(
                f"{name}: got {count}{' in a jackknife' * (name == 'images' and groups > 1)}; more"
                f" than {d}, the features, are allowed for a Frechet distance"
            )
    metric = FrechetInceptionDistance(_Given(d), reset_real_features=False)
    metric.update(data, real=True)

    def distance(rows: Tensor) -> float:
        metric.reset()
        metric.update(rows, real=False)
        return float(metric.compute())

    left, place = [], _shuffled(len(images))
    for k in range(groups if groups > 1 else 0):
        stays = place % groups != k
        left.append(distance(images[stays]))
        if progress is not None:
            progress(k + 1, groups, "groups left out")
    spread = torch.tensor(left, dtype=torch.float64)
    error = math.sqrt((groups - 1) * float(spread.var(correction=0))) if left else None
    return Figure(named(FRECHET, title), distance(images), error, len(images), len(data))


def kernel(images: Tensor, data: Tensor, title: str, *, block: int = BLOCK) -> Figure:
    """Of features (N, d) and (M, d): the mean over disjoint blocks of ``block`` of each.

    Raises:
        ValueError: fewer than `LEAST` of either.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    d = _same(images, data)
    for name, rows in (("images", images), ("data", data)):
        if len(rows) < LEAST:
            raise ValueError(f"{name}: got {len(rows)}; {LEAST} or more are allowed")
    count = min(len(images), len(data))
    block = min(block, max(count // GROUPS, LEAST))
    images, data, found = images[_shuffled(len(images))], data[_shuffled(len(data))], []
    with _own_draws():
        metric = KernelInceptionDistance(_Given(d), subsets=1, subset_size=block)
        for at in range(0, count - block + 1, block):
            metric.reset()
            metric.update(data[at : at + block], real=True)
            metric.update(images[at : at + block], real=False)
            found.append(float(metric.compute()[0]))
    used = len(found) * block
    return _over(named(KERNEL, title), found, used, used)


def inception_score(logits: Tensor, *, splits: int = GROUPS) -> Figure:
    """Of Inception's logits, (N, classes), without bias.

    Raises:
        ValueError: fewer images than splits.
    """
    from torchmetrics.image.inception import InceptionScore

    if len(logits) < splits:
        raise ValueError(f"images: got {len(logits)}; {splits} or more are allowed")
    with _own_draws():
        metric = InceptionScore(_Given(logits.shape[1]), splits=splits)
        metric.update(logits)
        value, deviation = (float(v) for v in metric.compute())
    error = deviation / math.sqrt(splits)
    return Figure("Inception score", value, error, len(logits), None)


def _same(images: Tensor, data: Tensor) -> int:
    """The number of features."""
    if images.dim() != 2 or data.dim() != 2 or images.shape[1] != data.shape[1]:
        raise ValueError(
            f"images: got features of shape {tuple(images.shape)} and data's of"
            f" {tuple(data.shape)}; (N, d) and (M, d) are allowed"
        )
    return images.shape[1]


def _shuffled(count: int) -> Tensor:
    """Places in a fixed random order: images of a set often come class by class, or in turn."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _over(name: str, found: list[float], images: int, data: int | None) -> Figure:
    """The mean over blocks and its error."""
    values = torch.tensor(found, dtype=torch.float64)
    error = float(values.std()) / math.sqrt(len(found)) if len(found) > 1 else None
    return Figure(name, float(values.mean()), error, images, data)


@contextmanager
def _own_draws() -> Iterator[Any]:
    """torchmetrics shuffles with torch's generator and warns that it keeps features."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will save all extracted features.*")
        torch.manual_seed(0)
        yield
