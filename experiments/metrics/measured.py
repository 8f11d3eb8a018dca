"""All figures of a set of images beside data: what the command prints and a card states.

Every figure of images stands beside that of as many held-out images of the data, or of all where
there are fewer, which is what images of the data's own law would give: a Frechet distance of few
images is not near zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import cache
from experiments.datamodules import Fashion, Folder, Part, Pictures, pictures
from experiments.metrics.classifier import accuracy, agreement, classifier
from experiments.metrics.extractors import PCA, Extractor, digest, extractor, features
from experiments.metrics.frechet import (
    FRECHET,
    GROUPS,
    KERNEL,
    Figure,
    frechet,
    inception_score,
    kernel,
    named,
)
from experiments.metrics.inception import Inception
from experiments.metrics.nearest import copies, nearest
from experiments.terminal import Stage, Tick, silent
from experiments.training import moments_of

REFERENCE = 10_000
"""Training images that distances are taken to, drawn once and for all."""
CHECKED = 1000
"""Images, and held-out ones, whose nearest training images are looked for."""
SET = "run.json"


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels (N, C, H, W), bytes or in [−1, 1], and their classes, (N,), where they have some.

    Attributes:
        source: where from.
        about: what a set of `sample` says of itself; empty for others.
    """

    pixels: Tensor
    labels: Tensor | None
    source: str
    about: dict[str, Any]


def read(place: str | Path) -> Images:
    """The images of a folder of `sample`, or of pictures, or of a .npy, .npz or IDX file.

    Arrays are (N, H, W) or (N, H, W, C).

    Raises:
        ValueError: none of these, or damaged.
    """
    if (Path(place) / SET).is_file():
        from experiments.sampling.shards import read_set

        found = read_set(place)
        return Images(found.images, found.labels, Path(place).name, dict(found.about))
    if not Path(place).exists():
        raise ValueError(
            f"SET: got {str(place)!r}, which does not exist; the folder of a set, a folder of"
            " pictures or a .npy is allowed"
        )
    try:
        parts = Folder(str(place)).read()
    except ValueError as error:
        raise ValueError(f"SET: got {str(place)!r} ({error})") from None
    return Images(torch.cat([part.pixels for part in parts]), None, Path(place).name, {})


def data_for(name: str, images: Images) -> Pictures:
    """The data that images are compared with, in a frame where they have one; read.

    Raises:
        ValueError: other sizes than the images', or no such data.
    """
    shape = tuple(images.pixels.shape[1:])
    data = pictures(name, pad=name == "fashion" and shape == (1, 32, 32))
    data.setup()
    if data.shape != shape:
        raise ValueError(f"data: got images of {data.shape}; {shape}, as in the set, are allowed")
    return data


def measured(
    images: Images,
    data: Pictures,
    extractors: Sequence[str] = ("pca",),
    *,
    weights: str | Path | None = None,
    reference: int = REFERENCE,
    stage: Stage = silent,
) -> dict[str, Any]:
    """Every figure, as JSON values.

    Args:
        images: 10 or more.
        data: as `data_for` gives it.
        extractors: names; see `extractors`.
        weights: of Inception.
        reference: training images that distances are taken to, at most.
        stage: progress of one part after the other.

    Raises:
        ValueError: an extractor that there is not, or too few images for any figure.
    """
    count = min(len(images.pixels), len(data.validation))
    held = data.validation.pixels[:count]
    known = _drawn(data.training, reference)
    figures: list[dict[str, Any]] = []
    for name in extractors:
        moments = moments_of(data.training) if name == "pca" else None
        of = extractor(name, moments=moments, weights=weights)
        with stage(name) as tick:
            mine, theirs = (features(of, x, progress=tick) for x in (images.pixels, held))
            real = _kept(of, known, data, tick)
            figures += _distances(of.title, mine, theirs, real, tick)
        if isinstance(of, Inception):
            figures.append(_scored(of, mine, theirs))
    with stage("nearest training images") as tick:
        near = [
            nearest(some[:CHECKED], data.training.pixels, progress=tick)
            for some in (images.pixels, held)
        ]
    return {
        "set": images.source,
        "images": len(images.pixels),
        "data": data.source,
        "figures": figures,
        "nearest": asdict(copies(*near)),
        "asked": _asked(images, data),
    }


def _distances(
    title: str, mine: Tensor, theirs: Tensor, real: Tensor, tick: Tick
) -> list[dict[str, Any]]:
    """Of features: both distances, or why there is none."""

    def near(x: Tensor, groups: int) -> Figure:
        return frechet(x, real, title, groups=groups, progress=tick)

    def alike(x: Tensor, groups: int) -> Figure:
        return kernel(x, real, title)

    found = []
    for kind, figure in ((FRECHET, near), (KERNEL, alike)):
        try:
            found.append(_beside(figure(mine, GROUPS), figure(theirs, 0)))
        except ValueError as error:
            name = named(kind, title)
            found.append({"name": name, "value": None, "refused": str(error)})
    return found


def _beside(figure: Figure, held_out: Figure) -> dict[str, Any]:
    return {**asdict(figure), "held_out": held_out.value, "held_images": held_out.images}


def _drawn(part: Part, count: int) -> Part:
    """So many images of a part, the same on every call."""
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:count]
    return Part(part.pixels[order], None if part.labels is None else part.labels[order])


def _kept(of: Extractor, known: Part, data: Pictures, tick: Tick) -> Tensor:
    """Features of training images; those of a network are kept in the cache."""
    if isinstance(of, PCA):
        return features(of, known.pixels, progress=tick)
    decides = {
        "data": data.provenance()["sha256"],
        "images": len(known),
        "extractor": of.title,
        "weights": digest(of),
    }
    file = cache.place("features", decides)
    held = cache.load(file, ["features"])
    if held is not None:
        return torch.from_numpy(held[0]["features"]).double()
    found = features(of, known.pixels, progress=tick)
    cache.store(file, {"features": found.float().numpy()}, decides)
    return found


def _scored(of: Inception, mine: Tensor, theirs: Tensor) -> dict[str, Any]:
    return _beside(*(inception_score(of.logits(x)) for x in (mine, theirs)))


def _asked(images: Images, data: Pictures) -> dict[str, Any] | None:
    """The share of images that show the class they were asked for, beside the classifier's own."""
    whole = isinstance(data, Fashion) and data.shape == (1, 28, 28)
    if images.labels is None or not whole:
        return None
    net = classifier()
    found = agreement(net, images.pixels, images.labels)
    return {**asdict(found), "held_out": accuracy(net, data.validation).share}
