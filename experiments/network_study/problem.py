"""What the runs of a study share: the network, its start points, their exact ends, the data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from distributed import Client
from torch import Tensor

from experiments.checkpoints.safe import sha256
from experiments.datamodules import Part, pictures
from experiments.folder import CARD, CONFIG, GAUSSIAN, WEIGHTS, Folder
from experiments.launch import in_eigenbasis
from experiments.metrics.converged import BLOCK, Reference, converged
from experiments.network_study import forward_mode
from experiments.network_study.distance import Distance
from experiments.network_study.study import NetworkStudy
from experiments.sampling.draw import start
from experiments.sampling.job import Job
from experiments.sampling.level import automatic
from experiments.sampling.source import Source, opened
from experiments.sweep.spread import unordered
from experiments.terminal import Tick
from gaussian_score.moments import Moments
from solvers.basis import Basis, InBasis
from solvers.forms import Statistics

DECIDING = (CARD, CONFIG, GAUSSIAN, WEIGHTS)
"""Files of a training's folder."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A training's folder: its network in float32 and the data that it was trained on.

    ``basis`` has the eigenvectors of the data's covariance first; ``statistics`` are in it.
    """

    place: Path
    source: Source
    moments: Moments
    basis: Basis
    statistics: Statistics
    training: Part
    held_out: Part

    @classmethod
    def read(cls, folder: str | Path) -> Trained:
        """The folder of a training that keeps moments of its data: one of a Gaussian's residual.

        Raises:
            ValueError: it is none, or its data are not on this machine, or are others.
        """
        place = Folder(Path(folder))
        card, recipe = place.card(), place.training()
        source = opened(folder)
        if not isinstance(source.moments, Moments):
            raise ValueError(
                f"--checkpoint: got {str(folder)!r} without moments of its data; a training with"
                " --residual gaussian is allowed"
            )
        forward_mode.prepare(source.module)
        data = pictures(recipe.data, pad=recipe.pad)
        data.setup()
        if data.provenance()["sha256"] != card["data"]["sha256"]:
            raise ValueError(
                f"--checkpoint: {str(folder)!r} was trained on other images than {recipe.data!r}"
                " has here; a training on these is allowed"
            )
        basis, statistics = in_eigenbasis(source.moments, source.shape)
        parts = data.training, data.validation
        return cls(place.place, source, source.moments, basis, statistics, *parts)

    @property
    def digest(self) -> str:
        """SHA-256 over the files that decide the network, wherever and beside what they lie."""
        each = "".join(sha256(self.place / name) for name in DECIDING)
        return hashlib.sha256(each.encode()).hexdigest()

    @property
    def model(self) -> InBasis:
        """The network without a class in coordinates of the basis, (B, D)."""
        return InBasis(self.source.denoiser(), self.basis)


@dataclass(frozen=True, eq=False)
class Problem:
    """Start points and their exact ends by the first seed of a set.

    ``starts`` are x/α in the basis, (B, D), float64; ``statistics`` are what forms and jumps are
    given; ``level`` is where "auto" lands.
    """

    study: NetworkStudy
    model: InBasis
    statistics: Any
    starts: Mapping[int, Tensor]
    exact: Mapping[int, Reference]
    level: float
    distance: Distance

    def given(self, statistics: Any) -> Problem:
        """The same with other statistics."""
        return replace(self, statistics=statistics)


def landing(study: NetworkStudy, trained: Trained) -> float:
    """σ/α at which the network's own flow is its data's Gaussian, within the tolerance."""
    levels = study.rho_end, study.rho_start
    how: dict[str, Any] = {"levels": levels, "teleport": "auto", "tolerance": study.tolerance}
    job = Job(checkpoint=str(trained.place), method="ddim", steps=1, **how)
    return automatic(job, trained.source, None)


def build(
    study: NetworkStudy,
    trained: Trained,
    level: float,
    client: Client,
    *,
    progress: Tick | None = None,
) -> Problem:
    """Start points from their seeds, and where the network's flow takes them."""
    sets = {first: range(first, first + study.samples) for first in study.seeds}
    blocks = [seeds[i : i + BLOCK] for seeds in sets.values() for i in range(0, len(seeds), BLOCK)]
    found: dict[range, Reference] = {}
    shared = study, trained.source
    for block, end in unordered(_flow, shared, blocks, client):
        found[block] = end
        if progress:
            progress(len(found), len(blocks), "exact flow")
    exact = {
        first: _joined([found[block] for block in blocks if block[0] in seeds])
        for first, seeds in sets.items()
    }
    return Problem(
        study,
        trained.model,
        trained.statistics,
        {k: trained.basis.coordinates(_start(study, s, trained.source)) for k, s in sets.items()},
        exact,
        level,
        Distance.to(
            trained.held_out,
            trained.training,
            trained.moments,
            dimensions=study.dimensions,
            samples=study.samples,
        ),
    )


def _start(study: NetworkStudy, seeds: Sequence[int], source: Source) -> Tensor:
    return study.rho_start * start(seeds, source.shape)


def _flow(shared: tuple[NetworkStudy, Source], seeds: range) -> Reference:
    torch.set_num_threads(1)
    study, source = shared
    levels = study.rho_end, study.rho_start
    return converged(source, seeds, levels=levels, tolerance=study.converged)


def _joined(parts: Sequence[Reference]) -> Reference:
    return Reference(torch.cat([p.x for p in parts]), torch.cat([p.error for p in parts]))
