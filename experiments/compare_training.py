"""Plain EDM against the Gaussian residual at equal images seen: what each still gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.networks import Preconditioned
from experiments.residual import GaussianScaling
from experiments.terminal import Tick
from experiments.train import train
from experiments.training import Training, moments_of
from experiments.validation import denoising_errors


class Nothing(nn.Module):
    """F = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Zeros."""
        return self.zero * x


def residual_rows(
    training: Training,
    out: str | Path,
    *,
    seeds: Sequence[int] = (0,),
    progress: Tick | None = None,
) -> list[dict[str, Any]]:
    """Validation errors by training, seed, images seen and σ.

    Both trainings have the same backbone, start, batches, noise, levels, rate and average; they
    lie in ``out`` and go on where an earlier call stopped. The rows with images = 0 are D_G's, of
    all the training's moments.

    Args:
        training: the recipe; its ``residual`` and ``seed`` are replaced.
        out: one folder a training is made in it.
        seeds: of the trainings.
        progress: as for `train`.
    """
    data = training.module()
    data.setup()
    gaussian = Preconditioned(
        Nothing(), GaussianScaling(moments_of(data.training), training.floor)
    )
    found = [_row("gaussian", None, 0, denoising_errors(gaussian, data.validation))]
    for seed in seeds:
        for name, residual in {"edm": None, "gaussian": "gaussian"}.items():
            recipe = replace(training, residual=residual, seed=seed)
            place = Path(out) / f"{name}-{seed}"
            done = train(recipe, place, resume=place.exists(), data=data, progress=progress)
            found += [_row(name, seed, row["images"], row["validation"]) for row in done.rows]
    return [row for rows in found for row in rows]


def _row(name: str, seed: int | None, images: int, errors: dict[str, float]) -> list[dict]:
    return [
        {
            "training": name,
            "seed": seed,
            "images": images,
            "sigma": float(level),
            "error": error,
        }
        for level, error in errors.items()
    ]
