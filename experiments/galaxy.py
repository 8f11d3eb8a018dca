"""``scoreproof run galaxies``: a network whose data nobody has here, judged by its own flow.

    errors       of runs against the converged flow of the same network, by method and model calls
    explained    what Gaussians of the network's own draws leave of its score, level by level

The draws stand for the data: where they are fewer than the pixels, the Gaussian knows their span
alone and has no variance across it, so "Gaussian" is sharper than one of the data would be; and
points are noised draws, which it has seen. The networks have kinks, where no two solvers agree
closely: every error stands beside that of the reference.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments import store
from experiments.answer import Answer
from experiments.checkpoints.safe import sha256
from experiments.metrics.converged import Reference, converged, trajectory_error
from experiments.network_study.scores import Flat
from experiments.plots.style import drawable, save
from experiments.sampling.draw import prepared, run
from experiments.sampling.job import Job
from experiments.sampling.source import Source, opened
from experiments.scores import moments
from experiments.study import check, load
from experiments.terminal import Tick, bar, table
from gaussian_score.diagnostics import SIGMAS, baselines, compare
from solvers.method import entry

SUFFIX = ".eqx"
SOURCES = (
    "solvers",
    "gaussian_score",
    "experiments/checkpoints",
    "experiments/ems.py",
    "experiments/folder.py",
    "experiments/galaxy.py",
    "experiments/jump.py",
    "experiments/launch.py",
    "experiments/loading.py",
    "experiments/methods.py",
    "experiments/metrics/converged.py",
    "experiments/network_study/scores.py",
    "experiments/networks.py",
    "experiments/problems.py",
    "experiments/residual.py",
    "experiments/sampling",
    "experiments/scores.py",
    "experiments/setting.py",
)
"""What the rows rest on."""


@dataclass(frozen=True)
class GalaxyStudy:
    """Runs of each method from the same noise, and the network's score at each noise level.

    Attributes:
        methods: of the registry.
        steps: of each run; methods with stages make more model calls, as rows say.
        samples: trajectories, of the seeds 0 .. samples − 1.
        converged: allowed error of the reference, a root mean square over pixels.
        draws: images whose Gaussian is taken, by the run of the smallest error, 2 or more.
        points: noised draws at each level, 2 or more.
        levels: σ/α, lowest and highest; those of the checkpoint, if empty.
    """

    kind: str
    name: str
    methods: tuple[str, ...]
    steps: tuple[int, ...]
    samples: int
    converged: float
    draws: int
    points: int
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check("kind", self.kind, self.kind == "galaxies", "'galaxies'")
        check("methods", self.methods, len(self.methods) > 0, "one method or more")
        for name in self.methods:
            entry(name)
        some = len(self.steps) > 0 and all(n >= 1 for n in self.steps)
        check("steps", self.steps, some, "one integer >= 1 or more")
        check("converged", self.converged, 0 < self.converged < 1, "a number between 0 and 1")
        for key, least in {"samples": 1, "draws": 2, "points": 2}.items():
            value = getattr(self, key)
            check(key, value, value >= least, f"an integer >= {least}")
        check("levels", self.levels, len(self.levels) in (0, 2), "none or two")

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a run's id is computed from, beside the checkpoint."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows of both kinds, and the end of the converged flow."""

    errors: list[dict[str, Any]]
    explained: list[dict[str, Any]]
    reference: Reference


def judged(path: str | Path, study: GalaxyStudy, *, progress: Tick | None = None) -> Judged:
    """The study of one checkpoint.

    Args:
        path: what ``source.opened`` takes.
        study: what is asked.
        progress: called after every block of the flow and every run.

    Raises:
        ValueError: as ``opened``, ``converged`` and ``prepared``.
    """
    source, seeds = opened(path), range(study.samples)
    low, high = study.levels or source.levels
    how: dict[str, Any] = {"levels": (low, high), "tolerance": study.converged}
    exact = converged(source, seeds, **how, progress=progress)
    jobs = [
        Job(checkpoint=str(path), method=m, steps=n, last=study.samples - 1, levels=(low, high))
        for m in study.methods
        for n in study.steps
    ]
    errors = []
    for done, job in enumerate(jobs, 1):
        drawn = run(prepared(job, source), seeds)
        error = trajectory_error(drawn.x, exact)
        row = {"method": job.method, "steps": job.steps, "nfe": float(drawn.nfe.double().mean())}
        row |= {"error": error.rms, "error_median": error.median, "reference": error.reference}
        errors.append(row)
        if progress is not None:
            progress(done, len(jobs), f"{job.method}, {job.steps} steps")
    best = jobs[min(range(len(jobs)), key=lambda i: errors[i]["error"])]
    draws = _draws(best, source, study.draws, progress)
    return Judged(errors, explained(source, draws, study.points, (low, high)), exact)


def _draws(job: Job, source: Source, count: int, progress: Tick | None) -> Tensor:
    """Those of the first seeds, (N, C, H, W)."""
    found, ready = [], prepared(job, source)
    for first in range(0, count, job.batch):
        here = range(first, min(first + job.batch, count))
        found.append(run(ready, here).x)
        if progress is not None:
            progress(here.stop, count, "draws")
    return torch.cat(found)


def explained(
    source: Source, draws: Tensor, points: int, levels: tuple[float, float]
) -> list[dict[str, Any]]:
    """``compare`` of the network with the Gaussians of the draws, (N, C, H, W), in float64."""
    sigmas = [s for s in SIGMAS if levels[0] <= s <= levels[1]]
    flat = draws.flatten(1).double()
    laws = baselines(moments(flat.numpy()))
    network = Flat(source.denoiser(), source.shape)
    rows = compare(network, laws, flat, sigmas=sigmas, samples=points)
    return [{"of": "network", **row} for row in rows]


# --- the command ---------------------------------------------------------------------------------


def galaxies(args: Namespace) -> Answer:
    """All rows of the study of one file; those of an earlier run are kept."""
    given = Path(args.checkpoint or "")
    check("--checkpoint", args.checkpoint, given.suffix == SUFFIX, "a .eqx of galaxygrad 0.1.9")
    out = store.writable(args.summary, "--summary") if args.summary else None
    picture = drawable(store.writable(args.plot, "--plot"), "--plot") if args.plot else None
    study = load(args.study, GalaxyStudy)
    asked = {**study.to_json(), "checkpoint": sha256(given)}
    opened(given)  # refused before a folder is made
    stored = store.open_run(args.out, f"galaxies-{study.name}", asked, SOURCES)
    with bar(args.study) as tick:
        rows = stored.once(lambda: _rows(judged(given, study, progress=tick)))
    found = {kind: _of(rows, kind) for kind in ("errors", "explained")}
    made = stored.about()
    del made["certificates"]  # no proof is behind these rows
    value = {**made, **found}
    if out is not None:
        with store.replacing(out) as file:
            file.write(store.line(value) + "\n")
    if picture is not None:
        from experiments.plots.galaxy import judgement

        save(judgement(**found), picture)
    return Answer(value, lambda: _show(**found))


def _rows(found: Judged) -> list[dict[str, Any]]:
    """Of both kinds, as they are stored."""
    kinds = {"errors": found.errors, "explained": found.explained}
    return [{"kind": kind, **row} for kind, rows in kinds.items() for row in rows]


def _of(rows: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "kind"} for r in rows if r["kind"] == kind]


def _show(errors: Sequence[Mapping[str, Any]], explained: Sequence[Mapping[str, Any]]) -> None:
    """Both tables: errors beside the reference's own, and what each Gaussian leaves of |s|²."""
    lines = [
        (r["method"], r["steps"], f"{r['nfe']:g}", f"{r['error']:.3g}", f"{r['reference']:.3g}")
        for r in errors
    ]
    heads = ("method", "steps", "calls", "error", "error of the reference")
    table(heads, lines, title="root mean square of a pixel, to the network's own converged flow")
    names = list(dict.fromkeys(r["candidate"] for r in explained))
    left = {(r["sigma"], r["candidate"]): r["score"]["residual"] for r in explained}
    sigmas = sorted({r["sigma"] for r in explained})
    lines = [(f"{s:g}", *(f"{left[s, name]:.3g}" for name in names)) for s in sigmas]
    table(("sigma", *names), lines, title="\nnot explained of the network's score: |Δs|²/|s|²")
