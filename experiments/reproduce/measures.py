"""How far a set of images is from data: FID, or the same distance in another space by its name.

The data are their pictures, or the mean ``mu`` and covariance ``sigma`` of their features in a
.npz, as they are published for FID. Images are rounded to bytes first, as they are where they are
kept as pictures.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from experiments.metrics.extractors import Extractor, as_bytes, extractor
from experiments.metrics.frechet import FRECHET, named
from experiments.reproduce.recipe import Recipe
from experiments.samples import load_samples
from experiments.sampling.shards import read_set
from experiments.terminal import Tick
from gaussian_score.streaming import stream

CHUNK = 64
"""Images whose features are taken together."""


@dataclass(frozen=True, eq=False)
class Distance:
    """The distance of images to data that were seen once."""

    name: str
    metric: Any
    features: int

    def of(self, place: Path, images: int, progress: Tick | None = None) -> float:
        """Of the first so many images in the folder of a set."""
        self.metric.reset()
        for first in range(0, images, CHUNK):
            last = min(first + CHUNK, images)
            found = read_set(place, range(first, last)).images
            self.metric.update(as_bytes(found).float() / 127.5 - 1, real=False)
            if progress is not None:
                progress(last, images, "measured")
        return float(self.metric.compute())

    def notes(self, images: int) -> list[str]:
        """What a number of so many images is not."""
        if images > self.features:
            return []
        return [f"{images} images are no more than the {self.features} features they are told by"]


def distance(
    name: str,
    recipe: Recipe,
    *,
    data: str | None,
    images: int,
    weights: str | None = None,
    progress: Tick | None = None,
) -> Distance:
    """The distance of so many images to the data of a recipe, in the space of an extractor.

    Raises:
        ValueError: data or weights that are needed and missing, or that cannot be read; pictures
            of another size than the recipe's; fewer than two images.
    """
    if data is None:
        raise ValueError(f"--data: got none; {recipe.data} is needed")
    if images < 2:
        raise ValueError(f"--images: got {images}; 2 or more are allowed, for a covariance")
    if name == "inception" and weights is None:
        raise ValueError(
            "--inception: got none; FID needs the weights of its network, and --extractor"
            " efficientnet or pca measures another distance under its own name"
        )
    known = _laws(Path(data)) if data.endswith(".npz") else None
    if known is None:
        _sized(data, None if recipe.network.latent else recipe.network.shape)
    moments = None
    if name == "pca":
        if known is not None:
            raise ValueError(f"--data: got {data!r}; pictures are allowed with pca")
        pixels = np.concatenate([x.flatten(1).numpy() for x in pictures(data)])
        moments = stream(pixels, scale="[-1,1]")
    of = extractor(name, moments=moments, weights=weights)
    return seen(of, known, data, progress)


def seen(
    of: Extractor,
    known: tuple[Tensor, Tensor] | None,
    data: str,
    progress: Tick | None = None,
) -> Distance:
    """The distance in a space, of which the data's law is known or taken from pictures."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchmetrics")
        metric = FrechetInceptionDistance(cast(nn.Module, of), reset_real_features=False)
    if known is not None:
        mu, sigma = known
        if mu.shape != (of.num_features,):
            raise ValueError(
                f"--data: got {len(mu)} features; {of.num_features}, of {of.title}, are allowed"
            )
        # Two samples with this mean and covariance: the sums that torchmetrics keeps.
        metric.real_features_sum = 2 * mu
        metric.real_features_cov_sum = sigma + 2 * torch.outer(mu, mu)
        metric.real_features_num_samples = torch.tensor(2)
    else:
        for x in pictures(data, progress):
            metric.update(x, real=True)
    return Distance(named(FRECHET, of.title), metric, of.num_features)


def _sized(data: str, shape: tuple[int, ...] | None) -> None:
    """Whether pictures are two or more, and of this shape where it is known."""
    first = next(pictures(data))
    if len(first) < 2:
        raise ValueError(f"--data: got {len(first)} picture; 2 or more are allowed")
    if shape is not None and first.shape[1:] != shape:
        raise ValueError(
            f"--data: got pictures of {list(first.shape[1:])}; {list(shape)}, as the network"
            " makes, are allowed"
        )


def pictures(data: str, progress: Tick | None = None) -> Iterator[Tensor]:
    """Pictures of a source, (B, C, H, W) in [−1, 1], a few at a time.

    Raises:
        ValueError: none, or numbers on no pixel scale.
    """
    found = load_samples(data)
    scales = {"0..255": (127.5, 1), "[0,1]": (0.5, 1), "[-1,1]": (1, 0)}
    if found.scale not in scales:
        raise ValueError(f"--data: {found}; pixels are allowed")
    half, shift = scales[found.scale]
    for first in range(0, len(found.rows), CHUNK):
        rows = np.asarray(found.rows[first : first + CHUNK], dtype=np.float32)
        x = torch.from_numpy(rows / half - shift)
        x = x[:, None] if x.dim() == 3 else x
        last = x.dim() == 4 and x.shape[-1] in (1, 3)
        yield x.movedim(-1, 1) if last else x
        if progress is not None:
            progress(min(first + CHUNK, len(found.rows)), len(found.rows), "pictures")


def _laws(file: Path) -> tuple[Tensor, Tensor] | None:
    """mu and sigma of a .npz; None where it holds pictures."""
    try:
        with np.load(file, allow_pickle=False) as held:
            if not {"mu", "sigma"} <= set(held):
                return None
            mu, sigma = (torch.from_numpy(np.asarray(held[k], float)) for k in ("mu", "sigma"))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"--data: got {str(file)!r} ({error}); a .npz is allowed") from None
    if mu.dim() != 1 or sigma.shape != (len(mu), len(mu)):
        raise ValueError(
            f"--data: mu is {list(mu.shape)} and sigma {list(sigma.shape)}; [d] and [d, d] are"
            " allowed"
        )
    return mu, sigma
