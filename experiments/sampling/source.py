"""A checkpoint as a flow to sample: its denoiser, and what a run must know about it.

Three kinds are told apart by what a place holds: the folder of a training of ours (a card), a
folder of diffusers or of ``convert``, and a file .pkl or .pth. All are read without running
anything of theirs; see `checkpoints`.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments import folder
from experiments.checkpoints import network
from experiments.checkpoints.safe import sha256
from experiments.checkpoints.schedules import recalled
from experiments.loading import Labelled
from experiments.networks import Learned
from experiments.sampling.latent import Autoencoder, autoencoder, latent_files
from gaussian_score.class_moments import ClassMoments
from gaussian_score.moments import Moments
from solvers.denoiser import Denoiser
from solvers.float64 import FLOAT64
from solvers.guidance import Guided
from solvers.point import Point
from solvers.schedules import EDM, Schedule
from solvers.statistics import Table

Known = Moments | ClassMoments | Table
LEVELS = (0.002, 80.0)
"""σ/α of a network that is not bound to a schedule: EDM's."""
TIMES = {"vp_linear": (1e-3, 1.0), "sub_vp": (1e-3, 1.0), "vp_cosine": (1e-3, 0.9946)}
"""First and last times of published runs on schedules with no noise at 0 or no data at 1."""
FILES = (folder.CONFIG, folder.CARD, folder.GAUSSIAN, folder.WEIGHTS)
"""What in a training's folder decides its network."""


@dataclass(frozen=True, eq=False)
class Source:
    """A network, and the flow that it is sampled along.

    Attributes:
        shape: of one state, (C, H, W).
        schedule: of the flow.
        free: whether the network answers on every schedule, being D(x/α, σ/α).
        levels: σ/α, lowest and highest, between which it is sampled by default; the highest is
            infinite where the schedule begins without data.
        classes: how many it knows; 0 for none.
        context: numbers of a text's embedding; 0 where it takes no text.
        range: where the data lie; None for latents.
        digest: SHA-256 over the files that decide the network.
        moments: of the data, or of each class, or statistics of the model; None where unknown.
        statistics: SHA-256 of the file of ``moments``; None where it is part of the checkpoint.
        module: the network.
        bind: the module and a condition, or None, to a denoiser.
        latent: the autoencoder that makes images of states; None where states are images.
    """

    shape: tuple[int, ...]
    schedule: Schedule
    free: bool
    levels: tuple[float, float]
    classes: int
    context: int
    range: tuple[float, float] | None
    digest: str
    moments: Known | None
    statistics: str | None
    module: nn.Module
    bind: Callable[[nn.Module, Tensor | None], Denoiser]
    latent: Autoencoder | None = None

    def denoiser(
        self,
        condition: Tensor | None = None,
        *,
        scale: float | None = None,
        unconditional: Tensor | None = None,
    ) -> Denoiser:
        """Predictions of the network.

        Args:
            condition: classes (B,), int64, or embeddings of texts (B, L, C), one a sample.
            scale: of guidance with the unconditional model; needs a condition.
            unconditional: the empty text's embeddings, for networks of texts.

        Raises:
            ValueError: no condition, or no unconditional model, where one is needed.
        """
        own = self.bind(self.module, condition)
        if scale is None:
            return own
        if condition is None:
            raise ValueError(f"guidance: got {scale} without labels; it is allowed with them")
        try:
            free = self.bind(self.module, unconditional)
        except ValueError as error:
            raise ValueError(
                f"guidance: got {scale} with a network that has no unconditional model ({error});"
                " none is allowed"
            ) from None
        return Guided(own, free, scale)

    def decode(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) of states; data in [−1, 1], whatever the network's own range."""
        if self.latent is not None:
            return self.latent.decode(x)
        if self.range is None:
            return x
        low, high = self.range
        return x if (low, high) == (-1, 1) else (2 * x - low - high) / (high - low)

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Source:
        """The same with its network there; the modules move."""
        self.module.to(device=device, dtype=dtype)
        if self.latent is not None:
            self.latent.to(device=device)
        return self

    def on(self, schedule: Schedule) -> Source:
        """The same flow on another schedule, between the same levels."""
        if schedule == self.schedule:
            return self
        if not self.free:
            raise ValueError(
                f"schedule: got {schedule.name!r}; the checkpoint's own, {self.schedule.name!r},"
                " is allowed"
            )
        return replace(self, schedule=schedule)


def opened(
    path: str | Path,
    *,
    config: str | Mapping[str, Any] | None = None,
    statistics: str | Path | None = None,
) -> Source:
    """The checkpoint of a place, on the CPU.

    Args:
        path: the folder of a training, of a pipeline or a model of diffusers, or of ``convert``;
            a .pkl or .pth.
        config: says which network a score_sde .pth is of.
        statistics: a file of moments, of moments of classes, or of model statistics.

    Raises:
        ValueError: a file is missing, damaged, of another kind or of another size.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"checkpoint: got {str(place)!r}, which does not exist; one is allowed")
    if (place / folder.CARD).is_file():
        found = _trained(place, config)
    else:
        found = _foreign(place, config)
    if statistics is None:
        return found
    known = _statistics(Path(statistics), math.prod(found.shape))
    return replace(found, moments=known, statistics=sha256(Path(statistics)))


def _trained(place: Path, config: Any) -> Source:
    if config is not None:
        raise ValueError(f"config: got {config!r}; a training has its own, so none is allowed")
    kept = folder.Folder(place)
    card, recipe = kept.card(), kept.training()
    net = kept.trained().requires_grad_(False)
    count = len(card["data"].get("classes", ())) if recipe.labels else 0
    moments = place / folder.GAUSSIAN

    def bind(module: nn.Module, condition: Tensor | None) -> Denoiser:
        return Learned(Labelled(module, count, condition).to(_device(module)))  # type: ignore[arg-type]

    return Source(
        shape=tuple(card["data"]["shape"]),
        schedule=EDM(),
        free=True,
        levels=LEVELS,
        classes=count,
        context=0,
        range=(-1.0, 1.0),
        digest=_digest("training", (f for name in FILES if (f := place / name).is_file())),
        moments=Moments.load(moments) if moments.is_file() else None,
        statistics=None,
        module=net,
        bind=bind,
    )


def _foreign(place: Path, config: Any) -> Source:
    module, info = network(place, config=config)
    schedule = recalled(info.schedule)

    def bind(module: nn.Module, condition: Tensor | None) -> Denoiser:
        text = condition is not None and condition.is_floating_point()
        return info.denoiser(module, **{"context" if text else "label": condition})

    return Source(
        shape=info.shape,
        schedule=schedule,
        free=info.predicts == "denoised",
        levels=_levels(schedule, *info.levels),
        classes=info.classes,
        context=info.context,
        range=info.range,
        digest=_digest(json.dumps(info.written(), sort_keys=True), latent_files(place)),
        moments=None,
        statistics=None,
        module=module,
        bind=bind,
        latent=autoencoder(place),
    )


def _levels(schedule: Schedule, low: float, high: float | None) -> tuple[float, float]:
    """Those that a file names, else those of the schedule's first and last times."""
    first, last = TIMES.get(schedule.name, schedule.span)
    if isinstance(schedule, EDM):
        return low or LEVELS[0], high or LEVELS[1]
    if schedule.silent is not None:
        return low or _rho(schedule, TIMES["vp_linear"][0]), high or math.inf
    return low or _rho(schedule, first), high or _rho(schedule, last)


def _rho(schedule: Schedule, t: float) -> float:
    return float(Point(schedule, FLOAT64, "t", FLOAT64.number(t)).rho)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _statistics(file: Path, numbers: int) -> Known:
    """The file's, told apart by the names of its arrays; ``ValueError`` for another size."""
    try:
        with zipfile.ZipFile(file) as held:
            names = set(held.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or "no .npz"
        raise ValueError(
            f"statistics: got {str(file)!r} ({why}); a file of moments or of model statistics"
            " is allowed"
        ) from None
    kind = ClassMoments if "class_mean.npy" in names else Moments
    known = Table.load(str(file)) if "lam.npy" in names else kind.load(file)
    size = known.l.shape[1] if isinstance(known, Table) else _pooled(known).dim
    if size != numbers:
        raise ValueError(
            f"statistics: got {str(file)!r} of {size} numbers a sample; those of the checkpoint's"
            f" {numbers} are allowed"
        )
    return known


def _pooled(known: Moments | ClassMoments) -> Moments:
    return known.pooled if isinstance(known, ClassMoments) else known


def _digest(described: str, files: Iterable[Path]) -> str:
    """SHA-256 over a description and the files' names and bytes."""
    total = hashlib.sha256(described.encode())
    for file in sorted(files):
        total.update(f"\n{file.name} {sha256(file)}".encode())
    return total.hexdigest()
