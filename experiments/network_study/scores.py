"""What known laws explain of the network's score, by noise level and by images seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.datamodules import Part
from experiments.folder import Folder
from experiments.network_study.problem import Trained
from experiments.network_study.study import NetworkStudy, Scores
from experiments.sampling.source import Source
from experiments.sweep.sweep import Cell, Row
from gaussian_score.delta import DeltaMixture
from gaussian_score.diagnostics import Predicts, baselines, compare
from gaussian_score.fits import k_means
from gaussian_score.mixture import GaussianMixture
from solvers.denoiser import Denoiser

DRAWN = 4096
"""Training images that are noised, out of which a level's samples are drawn."""
KEPT = ("residual", "low", "median", "high")
HISTORY = ("Gaussian", "mixture", "delta")


@dataclass(frozen=True, eq=False)
class Flat:
    """A denoiser of states as a law of vectors, (B, D)."""

    model: Denoiser
    shape: tuple[int, ...]

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """D at x, (B, D)."""
        states = x.reshape(len(x), *self.shape)
        return self.model.at("data", states, None, alpha, sigma).flatten(1)


@dataclass(frozen=True, eq=False)
class Once:
    """A law that is asked the same again and again, and computes it once."""

    law: Predicts
    known: dict[tuple[float, bytes], Tensor] = field(default_factory=dict)

    def denoise(self, x: Tensor, alpha: Any, sigma: Any) -> Tensor:
        """D at x, (B, D)."""
        key = float(sigma) / float(alpha), x.numpy().tobytes()
        if key not in self.known:
            self.known[key] = self.law.denoise(x, alpha, sigma)
        return self.known[key]


@dataclass(frozen=True, eq=False)
class Laws:
    """What all levels share: the network, the laws that are known, images to be noised.

    ``place`` is the training's folder, whose snapshots workers read themselves.
    """

    study: Scores
    source: Source
    known: Mapping[str, Predicts]
    images: Tensor
    place: Path


def laws(study: Scores, trained: Trained) -> Laws:
    """Four Gaussians, a mixture fitted by k-means, and the training images themselves."""
    points = vectors(trained.training)
    delta = trained.training.pixels.flatten(1)
    scale, shift = (1 / 127.5, -1.0) if delta.dtype == torch.uint8 else (1.0, 0.0)
    known = {
        **baselines(trained.moments),
        "mixture": mixture(study, points),
        "delta": DeltaMixture.of(delta, scale=scale, shift=shift),
    }
    return Laws(study, trained.source, known, points[:DRAWN].double(), trained.place)


def mixture(study: Scores, points: Tensor) -> GaussianMixture:
    """Clusters of k-means, each with its leading eigenvectors and one variance for the rest."""
    fit = k_means(points.numpy(), min(study.components, len(points)))
    bases, values, floors = fit.low_rank(min(study.rank, points.shape[1]), floor="mean")
    return GaussianMixture.low_rank(fit.weights, fit.means, bases, values, floors)


def vectors(part: Part) -> Tensor:
    """All images, (N, D), float32."""
    return part[:][0].flatten(1)


def levels(study: NetworkStudy, snapshots: Sequence[int]) -> list[Row]:
    """A cell for each level of the trained network, and of its snapshots where there are any."""
    own = [{"of": "network", "sigma": sigma} for sigma in study.scores.sigmas]
    past = [{"of": "history", "sigma": sigma} for sigma in study.scores.history]
    return own + (past if snapshots else [])


def measure(shared: Laws, cell: Cell) -> Row:
    """The rows of one level."""
    torch.set_num_threads(1)
    found = _history if cell["of"] == "history" else _trained
    return {"rows": found(shared, cell["sigma"])}


def _trained(shared: Laws, sigma: float) -> list[Row]:
    """The network's score and, for comparison, that of the data themselves, beside each law."""
    known, how = dict(shared.known), {"sigmas": [sigma], "samples": shared.study.samples}
    network = Flat(shared.source.denoiser(), shared.source.shape)
    rows = [{"of": "network", **row} for row in compare(network, known, shared.images, **how)]
    delta = known.pop("delta")
    rows += [{"of": "data", **row} for row in compare(delta, known, shared.images, **how)]
    return [_short(row) for row in rows]


def _history(shared: Laws, sigma: float) -> list[Row]:
    """The same of every snapshot of the training, for three laws."""
    known = {name: Once(shared.known[name]) for name in HISTORY}
    how = {"sigmas": [sigma], "samples": shared.study.history_samples}
    folder, rows = Folder(shared.place), []
    for images in folder.snapshots():
        net = folder.trained(images=images).requires_grad_(False)
        model = Flat(shared.source.bind(net, None), shared.source.shape)
        found = compare(model, known, shared.images, **how)
        rows += [{"images": images, **_short(row)} for row in found]
    return rows


def _short(row: Row) -> Row:
    """What is kept of a row of `compare`."""
    names = ("of", "candidate", "sigma", "gap")
    kept = {name: row[name] for name in names if name in row}
    return kept | {key: {k: row[key][k] for k in KEPT} for key in ("score", "data")}
