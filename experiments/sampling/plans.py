"""A job's plans: grid, level to land on, coordinates; one plan for all images, or one a class."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from experiments.ems import in_arrays
from experiments.jump import Jump, with_past
from experiments.launch import in_eigenbasis
from experiments.methods import find
from experiments.problems import mapping
from experiments.sampling.job import Job
from experiments.sampling.source import Source
from experiments.setting import PLAN_OPTIONS
from gaussian_score.class_moments import ClassMoments
from gaussian_score.moments import Moments
from solvers.basis import Basis
from solvers.float64 import FLOAT64
from solvers.forms import Fitted
from solvers.grids import Grid, rule
from solvers.method import Entry
from solvers.ops import Plan
from solvers.plan import climbed, plan
from solvers.point import Point
from solvers.schedules import Schedule, schedule
from solvers.statistics import Table
from solvers.teleport import Teleport


@dataclass(frozen=True)
class Pixels:
    """States as rows of numbers: the coordinates of statistics that belong to pixels."""

    shape: tuple[int, ...]

    def coordinates(self, x: Tensor) -> Tensor:
        """(B, *shape) to (B, D)."""
        return x.flatten(1)

    def states(self, y: Tensor) -> Tensor:
        """(B, D) to (B, *shape)."""
        return y.reshape(len(y), *self.shape)

    def to(self, device: Any) -> Pixels:
        """Itself."""
        return self


@dataclass(frozen=True, eq=False)
class Eigenbasis(Basis):
    """A basis that can be brought to where the states are, once instead of at every call."""

    def to(self, device: Any) -> Eigenbasis:
        """The same there."""
        v, t = self.reflectors.to(device), self.inner.to(device)
        return replace(self, reflectors=v, inner=t)


@dataclass(frozen=True, eq=False)
class Way:
    """What images of one kind are sampled along.

    Attributes:
        grid: from the landing, where there is one.
        plan: None for a method that finds its steps as it goes.
        teleport: to the grid's first node.
        frame: the coordinates of the run; None where it runs in states.
    """

    grid: Grid
    plan: Plan | None
    teleport: Teleport | None
    frame: Pixels | Eigenbasis | None


def entry_of(job: Job) -> Entry:
    """The method, in the form asked for.

    Raises:
        ValueError: no such method, form or option; the option ``seed``, which images have.
    """
    entry = find(job.method, form=job.form)
    if "seed" in job.options:
        raise ValueError(
            f"options.seed: got {job.options['seed']!r}; none is allowed, an image has its seed"
        )
    mapping(dict(job.options), "options", (*entry.options, *PLAN_OPTIONS))
    return entry


def schedule_of(job: Job, source: Source) -> Schedule:
    """The one asked for, or the checkpoint's."""
    if job.schedule is None:
        return source.schedule
    values = dict(job.schedule)
    return schedule(values.pop("name", ""), **values)


def levels_of(job: Job, source: Source) -> tuple[float, float]:
    """σ/α, lowest and highest: the job's, or the checkpoint's where it names none.

    Raises:
        ValueError: one that is named is on the wrong side of the checkpoint's other.
    """
    named = zip(job.levels or (None, None), source.levels, strict=True)
    low, high = (own if asked is None else asked for asked, own in named)
    if not low < high:
        raise ValueError(f"levels: got {low}, {high}; 0 < low < high is allowed")
    return low, high


def full_grid(job: Job, source: Source) -> Grid:
    """From the highest level to the lowest."""
    low, high = levels_of(job, source)
    s = source.schedule
    silent = math.isinf(high)
    kind, value = ("t", s.silent) if silent else ("rho", high)
    if value is None:
        raise ValueError(f"levels: got {high}; a finite level is allowed on {s.name}")
    start, end = (_point(s, *pair) for pair in ((kind, value), ("rho", low)))
    return rule(grid_name(job, s), job.steps, start, end, job.grid_options)


def grid_name(job: Job, s: Schedule) -> str:
    """The rule asked for, or that of the schedule."""
    default = "t" if s.silent is not None else "karras" if s.name in ("edm", "ve") else "logsnr"
    return job.grid or default


def landed(job: Job, full: Grid, level: float) -> Grid | None:
    """As many steps from the level on; None where the level skips nothing.

    Raises:
        ValueError: a level at or below the last one.
    """
    first, last = full.points[0], full.points[-1]
    high = math.inf if first.silent else float(first.rho)
    if not level > float(last.rho):
        raise ValueError(
            f"teleport: got {level!r}; a level above {float(last.rho):.6g} is allowed"
        )
    if level >= high:
        return None
    start = _point(full.schedule, "rho", level)
    return rule(grid_name(job, full.schedule), job.steps, start, last, job.grid_options)


def ways(
    job: Job, source: Source, entry: Entry, level: float | None, labels: tuple[int, ...] | None
) -> Mapping[Hashable, Way]:
    """One way for all images, with the key None; one a class where moments are those of classes.

    Raises:
        ValueError: statistics that are needed and missing, or that do not fit the labels.
    """
    full = full_grid(job, source)
    grid = full if level is None else landed(job, full, level)
    if grid is None and job.teleport != "auto":
        raise ValueError(
            f"teleport: got {level}; a level below {float(full.points[0].rho):.6g}, where the run"
            " begins, is allowed"
        )
    start = None if level is None or grid is None else full.points[0]
    grid = grid or full
    needed = start is not None or isinstance(entry.form(job.options), Fitted)
    known = source.moments
    if not needed or known is None or not isinstance(known, ClassMoments):
        return {None: _way(job, source, entry, grid, start, known if needed else None)}
    if labels is None:
        raise ValueError("statistics: got those of classes; they are allowed with labels")
    missing = sorted(set(labels) - set(known))
    if missing:
        raise ValueError(f"labels: got {missing[0]}; classes with moments are allowed")
    return {k: _way(job, source, entry, grid, start, known[k]) for k in sorted(set(labels))}


def _way(
    job: Job,
    source: Source,
    entry: Entry,
    grid: Grid,
    start: Point | None,
    known: Moments | Table | ClassMoments | None,
) -> Way:
    if known is None and start is not None:
        raise ValueError(
            "teleport: got no moments of the data; a checkpoint that has them, or statistics,"
            " are allowed"
        )
    if isinstance(known, Table) and start is not None:
        raise ValueError("teleport: got statistics of a model; moments of the data are allowed")
    frame, statistics, jump = None, None, None
    if isinstance(known, Table):
        frame, statistics = Pixels(source.shape), known
    elif isinstance(known, Moments):
        basis, statistics = in_eigenbasis(known, source.shape)
        frame = Eigenbasis(basis.reflectors, basis.inner, basis.shape)
    if frame is not None:
        grid = Grid(grid.schedule, in_arrays(grid.points[0]).F, tuple(map(in_arrays, grid.points)))
    if start is not None:
        jump = Teleport(in_arrays(start), statistics, job.prior, job.corrected)  # type: ignore[arg-type]
    if entry.controller is not None:
        return Way(grid, None, jump, frame)
    if job.options.get("orders") is None:
        grid, _ = climbed(entry, grid, job.options)
    nodes, first = grid, 0
    if jump is not None and job.history == "gaussian":
        begun = with_past(Jump(grid, jump), entry, job.options)
        nodes, first = begun.grid, begun.first
    made = plan(
        entry,
        nodes,
        first=first,
        statistics=statistics,
        finish=job.finish,
        teleport=jump,
        model=() if job.guidance is None else (f"guided({float(job.guidance)!r})",),
        **job.options,
    )
    return Way(grid, made, jump, frame)


def _point(s: Schedule, kind: str, value: Any) -> Point:
    return Point(s, FLOAT64, kind, FLOAT64.number(float(value)))
