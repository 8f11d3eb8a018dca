r"""Error against work on a mixture fitted to real images: method x grid x number of model calls.

The start points are drawn from the law at ρ_start and carried to ρ_end.  All errors are
differences of x/α from the exact flow (``gaussian_score.reference``, which shares no code with the
solvers and states its own error), root mean square over samples and pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from experiments.data import fit_mixture, load_images
from experiments.jump import Jump, with_past
from experiments.measure import fingerprint
from experiments.parallel import unordered
from experiments.problems import Law
from experiments.store import open_run
from experiments.study import Rule, Study
from gaussian_score.mixture import GaussianMixture
from gaussian_score.reference import reference_flow
from solvers.coordinatewise import ARRAYS
from solvers.denoiser import Known
from solvers.float64 import FLOAT64
from solvers.forms import Fitted, Statistics
from solvers.grids import rule
from solvers.method import AS_PUBLISHED, entry, rows
from solvers.ops import Advance, Plan
from solvers.plan import plan
from solvers.point import Point
from solvers.sample import sample
from solvers.schedules import schedule
from solvers.teleport import Teleport
from solvers.trajectory import Trajectory

Floats = np.ndarray
Progress = Callable[[int, int, str], None]
Key = tuple[str, str, str, float | None]
SOURCES = ("solvers", "gaussian_score", *(f"experiments/{x}.py" for x in ("data", "jump", "work")))


@dataclass(frozen=True)
class Task:
    """One method with its options on one grid: a row for each number of model calls."""

    method: str
    options: Mapping[str, Any]
    grid: Rule
    level: float | None = None
    """Where a teleport lands, with the Gaussian's past for methods that look back."""

    @property
    def key(self) -> Key:
        """The same for the task and for its rows."""
        return self.method, repr(sorted(self.options.items())), self.grid.name, self.level


@dataclass(frozen=True)
class Problem:
    """The mixture in the eigenbasis of its covariance, so that per-coordinate forms apply.

    ``start`` and ``exact``, (B, D), are x/α in that basis; ``error`` is the reference's own.
    """

    weights: Floats
    means: Floats
    covs: Floats
    basis: Floats
    statistics: Statistics
    start: Floats
    exact: Floats
    error: float
    source: str

    def pixels(self, v: Floats) -> Floats:
        """(B, side, side) from coordinates in the eigenbasis."""
        side = math.isqrt(len(self.basis))
        return (v @ self.basis.T).reshape(-1, side, side)


def build(study: Study) -> Problem:
    """The study's target, start points and exact ends."""
    fitted = fit_mixture(load_images(study.target), study.components, study.floor, study.seed)
    return prepared(study, Law(fitted.weights.copy(), fitted.means, fitted.covs))


def prepared(study: Study, law: Law) -> Problem:
    """Start points of the law, by the study's seed, and their exact ends."""
    statistics, basis = law.principal()
    inside = law.rotated(basis)
    covs = (inside.covs + inside.covs.swapaxes(1, 2)) / 2
    generator = torch.Generator().manual_seed(study.seed)
    mixture = GaussianMixture.full(law.weights, inside.means, covs)
    x0 = mixture.sample(study.samples, generator=generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    start = (x0 + study.rho_start * noise).numpy()
    levels = (1.0, study.rho_start), (1.0, study.rho_end)
    reference = reference_flow(law.weights, inside.means, covs, start, *levels)
    return Problem(
        law.weights,
        inside.means,
        covs,
        basis,
        statistics,
        start,
        reference.x,
        float(reference.error.max()),
        reference.source,
    )


class Range(Protocol):
    """The two noise levels between which a study's plans run."""

    @property
    def rho_start(self) -> float:
        """σ/α of the first."""
        ...

    @property
    def rho_end(self) -> float:
        """σ/α of the last."""
        ...


class Knows(Protocol):
    """A problem's statistics, for the forms and jumps that need them."""

    @property
    def statistics(self) -> Any:
        """In the coordinates of the runs."""
        ...


def tasks(study: Study) -> list[Task]:
    """`runs` of the study's methods on every grid, without and with each of its teleports."""
    ways = [(grid, level) for grid in study.grids for level in (None, *study.levels)]
    return [Task(*row, *way) for row in runs(study.methods) for way in ways]


def runs(methods: Sequence[str] = ()) -> list[tuple[str, dict[str, Any]]]:
    """What people run of these methods, or of the whole registry: names and options.

    Every method with its defaults and as published; fixed steps of a given number and no noise, so
    that errors against the flow can be compared; of equal runs the first.
    """
    chosen = set(methods)
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for e, v in rows():
        run = v is e.variants[0] or (v.published and any(k in v.options for k in AS_PUBLISHED))
        if run and (not chosen or e.name in chosen) and e.quiet is None and e.controller is None:
            found.setdefault(fingerprint(e, v.options), (e.name, dict(v.options)))
    return list(found.values())


def planned(study: Range, problem: Knows, task: Task, steps: int) -> Plan:
    """The task's plan between the study's two noise levels."""
    e = entry(task.method)
    fitted = task.level is not None or isinstance(e.form(task.options), Fitted)
    F, s = ARRAYS if fitted else FLOAT64, schedule(task.grid.schedule)
    top, *ends = (
        Point(s, F, "rho", F.number(rho))
        for rho in (study.rho_start, task.level or study.rho_start, study.rho_end)
    )
    grid = rule(task.grid.name, steps, *ends, options=task.grid.options)
    if task.level is None:
        return plan(e, grid, statistics=problem.statistics, **task.options)
    jump = with_past(Jump(grid, Teleport(top, problem.statistics)), e, task.options)
    how = {"teleport": jump.teleport, "first": jump.first, "statistics": problem.statistics}
    return plan(e, jump.grid, **how, **task.options)


def carry(study: Study, problem: Problem, p: Plan) -> tuple[Floats, Trajectory]:
    """x/α at ρ_end from the plan's run on all start points."""
    first, last = (
        float(Point(p.schedule, FLOAT64, "rho", FLOAT64.number(rho)).alpha)
        for rho in (study.rho_start, study.rho_end)
    )
    law = GaussianMixture.full(problem.weights, problem.means, problem.covs)
    result = sample(p, Known(law), torch.from_numpy(problem.start) * first)
    return result.x.numpy() / last, result


def cost(p: Plan) -> tuple[int, int]:
    """Model calls and directional derivatives."""
    derivatives = sum(op.weights.derivatives for op in p.ops if isinstance(op, Advance))
    return p.nfe, derivatives


def steps_within(study: Range, problem: Knows, task: Task, nfe: int) -> int:
    """The most steps that take ``nfe`` model calls or fewer; 0 if one step takes more."""
    steps = nfe
    while steps > 0:
        calls, _ = cost(planned(study, problem, task, steps))
        if calls <= nfe:
            break
        steps -= math.ceil((calls - nfe) / math.ceil(calls / steps))
    return max(steps, 0)


def measure(study: Study, problem: Problem, task: Task) -> list[dict[str, Any]]:
    """The task's rows; a budget that no number of steps uses up is used in part."""
    counts = sorted({steps_within(study, problem, task, n) for n in study.nfe} - {0})
    derivatives = cost(planned(study, problem, task, 1))[1]
    if derivatives:
        counts = [n for n in counts if n * (1 + derivatives) <= study.work]
    plans = [planned(study, problem, task, n) for n in counts]
    if plans:
        with suppress(ValueError):  # the first run loads code: not timed
            carry(study, problem, plans[0])
    return [_row(study, problem, task, n, p) for n, p in zip(counts, plans, strict=True)]


def _row(study: Study, problem: Problem, task: Task, steps: int, p: Plan) -> dict[str, Any]:
    nfe, jvp = cost(p)
    start = time.perf_counter()
    rms = median = worst = refused = None
    try:
        end, _ = carry(study, problem, p)
        squares = np.mean((end - problem.exact) ** 2, axis=1)
        rms, median = float(np.sqrt(squares.mean())), float(np.sqrt(np.median(squares)))
        worst = float(np.abs((end - problem.exact) @ problem.basis.T).max())
    except ValueError as error:  # a run that overflows has no error, and the row says so
        refused = str(error)
    seconds = time.perf_counter() - start
    return {
        "method": task.method,
        "options": dict(task.options),
        "family": entry(task.method).family,
        "target": study.target,
        "schedule": task.grid.schedule,
        "grid": task.grid.name,
        "steps": steps,
        "nfe": nfe,
        "jvp": jvp,
        "level": task.level,
        "error_rms": rms,
        "error_median": median,
        "error_max": worst,
        "error_exact": problem.error,
        "samples": len(problem.start),
        "seconds": seconds,
        **({"refused": refused} if refused else {}),
    }


def run(
    study: Study,
    root: str | Path,
    *,
    workers: int = 2,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> tuple[Problem, list[dict[str, Any]]]:
    """All rows in the order of the tasks; rows stored by an earlier run are not computed again.

    On processes of this machine, or on the workers of a Dask scheduler.
    """
    problem = build(study)
    stored = open_run(root, f"work-{study.name}", study.to_json(), SOURCES)
    wanted = tasks(study)
    done = {_key(row) for row in stored.rows()}
    missing = [task for task in wanted if task.key not in done]
    found = unordered(_measure, (study, problem), missing, workers, scheduler=scheduler)
    for i, (task, fresh) in enumerate(found, 1):
        stored.add(fresh)
        if progress:
            progress(len(wanted) - len(missing) + i, len(wanted), task.method)
    place = {task.key: i for i, task in enumerate(wanted)}
    return problem, sorted(stored.rows(), key=lambda row: (place[_key(row)], row["nfe"]))


def _key(row: Mapping[str, Any]) -> Key:
    return row["method"], repr(sorted(row["options"].items())), row["grid"], row["level"]


def _measure(shared: tuple[Study, Problem], task: Task) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return measure(*shared, task)


def pictures(study: Study, problem: Problem) -> dict[str, Any]:
    """The sample sheet: exact images and those of a few methods, with their model calls."""
    shown = study.sheet.samples
    out: dict[str, Any] = {"exact": problem.pixels(problem.exact)[:shown], "methods": {}}
    for name in study.sheet.methods:
        task = Task(name, {}, study.grids[0])
        steps = steps_within(study, problem, task, study.sheet.nfe)
        p = planned(study, problem, task, max(1, steps))
        end, _ = carry(study, problem, p)
        out["methods"][name] = {"images": problem.pixels(end)[:shown], "nfe": p.nfe}
    return out
