"""A checkpoint whose data nobody has here, such as galaxygrad's, judged by its own flow and draws.

    errors       of runs against the converged flow of the same network, by method and model calls
    explained    what Gaussians of the network's own draws leave of its score, level by level

The draws stand for the data: where they are fewer than the pixels, the Gaussian knows their span
alone and has no variance across it, so "Gaussian" is sharper than one of the data would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.metrics.converged import TOLERANCE, converged, trajectory_error
from experiments.network_study.scores import Flat
from experiments.sampling.draw import prepared, run
from experiments.sampling.job import Job
from experiments.sampling.source import Source, opened
from experiments.scores import moments
from experiments.terminal import Tick
from gaussian_score.diagnostics import SIGMAS, baselines, compare

METHODS = ("ddim", "dpm_solver_pp_2m", "unipc_3", "rho_heun2")
CALLS = (6, 10, 20, 40)


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows of both kinds, the end of the converged flow, (B, C, H, W), and its own error."""

    errors: list[dict[str, Any]]
    explained: list[dict[str, Any]]
    states: Tensor
    reference: float


def judged(
    path: str | Path,
    *,
    samples: int = 16,
    methods: Sequence[str] = METHODS,
    calls: Sequence[int] = CALLS,
    levels: tuple[float, float] | None = None,
    tolerance: float = TOLERANCE,
    points: int = 64,
    progress: Tick | None = None,
) -> Judged:
    """The study of one checkpoint from the noise of the seeds 0 .. samples − 1.

    Args:
        path: what ``source.opened`` takes.
        samples: trajectories; their ends are the draws.
        methods: of the registry.
        calls: steps of each run; methods with stages make more model calls, as rows say.
        levels: σ/α, lowest and highest; the checkpoint's, if None.
        tolerance: allowed error of the converged flow. With kinks it converges slowly.
        points: x at each level of ``explained``, 2 or more.
        progress: called after every block of the flow and every run.

    Raises:
        ValueError: as ``opened``, ``converged`` and ``prepared``.
    """
    source, seeds = opened(path), range(samples)
    levels = levels or source.levels
    exact = converged(source, seeds, levels=levels, tolerance=tolerance, progress=progress)
    jobs = [
        Job(checkpoint=str(path), method=m, steps=n, last=samples - 1, levels=levels)
        for m in methods
        for n in calls
    ]
    errors = []
    for done, job in enumerate(jobs, 1):
        drawn = run(prepared(job, source), seeds)
        error = trajectory_error(drawn.x, exact)
        nfe = float(drawn.nfe.double().mean())
        errors.append({"method": job.method, "steps": job.steps, "nfe": nfe, "error": error.rms})
        if progress is not None:
            progress(done, len(jobs), job.method)
    return Judged(errors, explained(source, exact.x, points, levels), exact.x, exact.rms)


def explained(
    source: Source, draws: Tensor, points: int, levels: tuple[float, float]
) -> list[dict[str, Any]]:
    """``compare`` of the network with the Gaussians of the draws, (N, C, H, W), in float64."""
    sigmas = [s for s in SIGMAS if levels[0] <= s <= levels[1]]
    flat = draws.flatten(1).double()
    laws = baselines(moments(flat.numpy()))
    network = Flat(source.denoiser(), source.shape)
    return compare(network, laws, flat, sigmas=sigmas, samples=points)
