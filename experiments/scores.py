r"""Which known law a trained network's score is closest to, and what a Gaussian jump costs it.

Both tables set the network beside two laws: the Gaussian of its data, and the data itself (1/N on
every training point), whose score a perfectly trained network of unlimited size would have. Where
the network is farther from the data's score than the Gaussian's score is, what it shows is its
own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.data import Images, fit_mixture
from experiments.networks import Learned
from gaussian_score.delta import DeltaMixture
from gaussian_score.diagnostics import SIGMAS, Predicts, baselines, compare
from gaussian_score.mixture import GaussianMixture
from gaussian_score.moments import Moments
from gaussian_score.skip import Skip, auto_skip
from gaussian_score.sources import NetworkSource
from gaussian_score.streaming import stream
from gaussian_score.trajectory import GaussianFlow
from solvers.denoiser import Denoiser, Known
from solvers.grids import laid
from solvers.method import entry
from solvers.plan import plan
from solvers.sample import sample
from solvers.schedules import schedule

Row = Mapping[str, Any]
SOLVER = "unipc_3"
"""A hundred steps leave less than 1e-5 of these flows."""
SIGMA_MAX, SIGMA_MIN = 80.0, 0.002


def moments(points: np.ndarray) -> Moments:
    """Those of the law that puts 1/N on each of the points, (N, D)."""
    return stream(points)


def candidates(points: np.ndarray, components: int = 12) -> dict[str, Predicts]:
    """The four Gaussians, the mixture fitted to the points, and the points themselves."""
    side = round(points.shape[1] ** 0.5)
    fitted = fit_mixture(Images(points.reshape(-1, side, side), "points"), components)
    laws = fitted.weights.copy(), fitted.means.copy(), fitted.covs.copy()
    return {
        **baselines(moments(points)),
        "mixture": GaussianMixture.full(*laws),
        "delta": DeltaMixture.of(points),
    }


def score_rows(
    model: Learned,
    points: np.ndarray,
    *,
    sigmas: Sequence[float] = SIGMAS,
    samples: int = 1024,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows of `gaussian_score.diagnostics.compare`; ``of`` says whose score is explained.

    "network": by all candidates, and by itself in float64, which shows float32's share; "data":
    the data's own score, which shows where the network's rows come from its training.
    """
    known = candidates(points)
    how: dict[str, Any] = {"sigmas": sigmas, "samples": samples, "seed": seed}
    data = torch.tensor(points)
    rows = compare(model, {**known, "float64": model.double()}, data, **how)
    delta = known.pop("delta")
    return [{"of": "network", **row} for row in rows] + [
        {"of": "data", **row} for row in compare(delta, known, data, **how)
    ]


def network_level(model: Learned, points: np.ndarray) -> Skip:
    """Where a jump may land for the network's own flow: by its score's gap to the Gaussian's."""

    def denoised(x: Tensor, sigma: float) -> Tensor:
        """At α = 1."""
        return model.denoise(x, 1.0, sigma)

    levels = np.geomspace(1.0, 30.0, 18).tolist()
    source = NetworkSource(denoised, torch.tensor(points), moments(points), levels)
    return auto_skip(source, levels=levels)


def pick(rows: Sequence[Row], of: str, candidate: str) -> list[Row]:
    """The rows of one curve, from small levels to large."""
    chosen = [row for row in rows if (row["of"], row["candidate"]) == (of, candidate)]
    return sorted(chosen, key=lambda row: row["sigma"])


def own_error_from(rows: Sequence[Row]) -> float | None:
    """The level from which on the network is farther from the data's score than the Gaussian is.

    The smallest σ of the rows with E|s_θ − s|² > E|s_G − s|² there and at all larger ones; None
    where this does not hold at the largest.
    """
    mine, gaussian = pick(rows, "network", "delta"), pick(rows, "data", "Gaussian")
    level = None
    for a, b in zip(reversed(mine), reversed(gaussian), strict=True):
        if a["gap"] <= b["gap"]:
            break
        level = a["sigma"]
    return level


def jump_rows(
    model: Denoiser,
    points: np.ndarray,
    *,
    levels: Sequence[float] = (40.0, 20.0, 10.0, 5.0),
    starts: int = 256,
    steps: int = 100,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """What the Gaussian's jump from σ = 80 to each level does, in root mean squares over pixels.

    At the level, between the jump's landing and the model's flow (``network``), the landing and
    the data law's flow (``data``), and these two flows (``apart``); at σ = 0.002 between the ends
    of the model's flow from the landing and from the start (``end``).
    """
    law = moments(points)
    gaussian = GaussianFlow.from_covariance(law.mean.tolist(), law.covariance().tolist())
    known = Known(DeltaMixture.of(points))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(starts, points.shape[1], generator=generator, dtype=torch.float64)
    x = SIGMA_MAX * noise
    plain = flow(model, x, SIGMA_MAX, SIGMA_MIN, steps)
    rows = []
    for level in levels:
        landing = gaussian.flow(x, start=(1.0, SIGMA_MAX), end=(1.0, level))
        learned, exact = (flow(m, x, SIGMA_MAX, level, steps) for m in (model, known))
        end = flow(model, landing, level, SIGMA_MIN, steps)
        rows.append(
            {
                "sigma": level,
                "network": _rms(landing - learned),
                "data": _rms(landing - exact),
                "apart": _rms(learned - exact),
                "end": _rms(end - plain),
            }
        )
    return rows


def flow(model: Denoiser, x: Tensor, start: float, end: float, steps: int) -> Tensor:
    """The model's flow from one level to another, on a grid uniform in log σ."""
    grid = laid(schedule("edm"), "logsnr", steps=steps, start=start, end=end)
    return sample(plan(entry(SOLVER), grid), model, x).x


def _rms(v: Tensor) -> float:
    return float(v.square().mean().sqrt())
