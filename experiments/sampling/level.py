"""The level of ``teleport="auto"``: the lowest at which the network's own flow is its Gaussian.

    K_θ(ρ) + 2 errors + what the moments' own errors cost <= tolerance

K_θ is measured at images of the network's own: of seeds 0 .. PROBES − 1, sampled from the highest
level without a teleport, with the labels and the guidance of the job. So no data are needed, and
the error is that of the flow that is sampled.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import torch

from experiments.sampling.job import Job
from experiments.sampling.plans import levels_of
from experiments.sampling.source import LEVELS, Source
from experiments.terminal import Tick
from gaussian_score.moments import Moments
from gaussian_score.network_entropy import RELIABLE
from gaussian_score.skip import auto_skip
from gaussian_score.sources import NetworkSource
from solvers.float64 import FLOAT64
from solvers.point import Point

PROBES = 64
"""Images that K_θ is measured at."""
METHOD, STEPS = "dpm_solver_pp_2m", 18
"""For these."""
LOWEST = 0.1
"""Of the data's deviation: no level below it is tried."""
RATIO = 10**0.1
"""Of one level and the next."""


def automatic(job: Job, source: Source, progress: Tick | None = None) -> float:
    """σ/α to land on.

    Raises:
        ValueError: no moments of the whole data, or no level is within the tolerance.
    """
    from experiments.sampling.draw import prepared, run

    moments = source.moments
    if not isinstance(moments, Moments):
        raise ValueError(
            f"teleport: got 'auto' with {type(moments).__name__}; moments of the data are needed"
            " to find a level, a level itself is allowed"
        )
    plain = replace(
        job,
        method=METHOD,
        steps=STEPS,
        form=None,
        options={},
        grid=None,
        grid_options={},
        finish="none",
        teleport=None,
        prior="reference",
        corrected=False,
        compile=False,
    )
    asked = prepared(plain, source)
    seeds = range(PROBES)
    x = run(asked, seeds).x.flatten(1)
    calls = itertools.count(1)
    model = source.denoiser(asked.labels_of(seeds), scale=job.guidance)

    def denoiser(y: torch.Tensor, level: float) -> torch.Tensor:
        if progress is not None:
            progress(next(calls), len(measured), "levels measured")
        at = Point(asked.source.schedule, FLOAT64, "rho", FLOAT64.number(level))
        t, alpha, sigma = map(float, (at.t, at.alpha, at.sigma))
        x = alpha * y.reshape(len(y), *source.shape)
        return model.at("data", x, t, alpha, sigma).flatten(1)

    low, high = levels_of(job, source)
    least = LOWEST * math.sqrt(moments.trace / moments.dim)
    levels = _ladder(max(low, least), high if math.isfinite(high) else LEVELS[1])
    measured = [level for level in levels if level <= RELIABLE]
    network = NetworkSource(denoiser, x, moments, measured, batch=PROBES)
    try:
        return auto_skip(network, tolerance=job.tolerance, levels=levels).rho
    except ValueError as error:
        raise ValueError(
            f"teleport: got 'auto' with tolerance {job.tolerance}, which no level keeps ({error});"
            " a larger one is allowed"
        ) from None


def _ladder(low: float, high: float) -> list[float]:
    """Powers of RATIO from high down to low, which rounding does not move."""
    top, end = (math.floor(math.log(v, RATIO)) for v in (high, low))
    return [float(f"{RATIO**i:.6g}") for i in range(top, end, -1)]
