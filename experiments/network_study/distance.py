r"""How far images are from data, in the leading principal components y of the data.

    frechet    of the Gaussians with the moments of both sets; see `experiments.metrics.frechet`
    kernel     E k(y, y₂) + E k(y', y₂') − 2 E k(y, y'),    k(y, y') = 1/(1 + |y − y'|²/r²)

of two different images y, y₂ of a set; r is the mean distance of two images of the data. The
second is unbiased, so it may be negative, and its mean does not depend on the number of images,
with which the first falls. Its kernel is bounded: runs that failed are compared here, and with a
polynomial one a single image far away makes such a distance negative and as large as it likes.

Source: Bińkowski et al., arXiv 1801.01401, for unbiased kernel distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.datamodules import Part
from experiments.metrics.extractors import PCA
from experiments.metrics.frechet import frechet
from gaussian_score.moments import Moments

SETS = 20
"""Of training images, whose distances show what chance alone makes."""


@dataclass(frozen=True, eq=False)
class Distance:
    """To a set of images.

    ``data`` are their y, (N, d), ``radius`` is r, ``inner`` the mean of k over pairs of them;
    ``others`` are the y of other images.
    """

    extractor: PCA
    data: Tensor
    radius: float
    inner: float
    others: Tensor

    @classmethod
    def to(
        cls, held_out: Part, training: Part, moments: Moments, *, dimensions: int, samples: int
    ) -> Distance:
        """To held-out images, of sets of so many samples."""
        extractor = PCA(moments, min(dimensions, moments.rank))
        images = held_out[:][0], training[: SETS * samples][0]
        data, others = map(extractor, images)
        radius = float(_pairs(torch.cdist(data, data)))
        return cls(extractor, data, radius, float(_pairs(near(data, data, radius))), others)

    def __call__(self, x: Tensor) -> dict[str, float]:
        """Both distances of images, (B, ..)."""
        return self._of(self.extractor(x))

    def of_training(self, samples: int) -> dict[str, dict[str, float]]:
        """Mean and standard deviation over sets of so many training images."""
        found = [self._of(y) for y in self.others.split(samples) if len(y) == samples]
        values = {key: torch.tensor([each[key] for each in found]) for key in found[0]}
        return {
            k: {"mean": float(v.mean()), "deviation": float(v.std())} for k, v in values.items()
        }

    def _of(self, y: Tensor) -> dict[str, float]:
        gaussian = frechet(y, self.data, self.extractor.title, groups=0)
        own = float(_pairs(near(y, y, self.radius)))
        between = float(near(y, self.data, self.radius).mean())
        return {"frechet": gaussian.value, "kernel": own + self.inner - 2 * between}


def near(y: Tensor, z: Tensor, radius: float) -> Tensor:
    """k of every pair, (B, N)."""
    return 1 / (1 + (torch.cdist(y, z) / radius) ** 2)


def _pairs(values: Tensor) -> Tensor:
    """The mean over pairs of two different points."""
    return (values.sum() - values.diagonal().sum()) / (len(values) * (len(values) - 1))
