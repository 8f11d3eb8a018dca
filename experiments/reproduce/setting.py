"""A cell as a job of the sampling engine."""

from __future__ import annotations

from typing import Any

from experiments.reproduce.recipe import Cell, Recipe
from experiments.sampling.job import Job
from experiments.sampling.source import Source
from solvers.float64 import FLOAT64
from solvers.grids import rule
from solvers.point import Point
from solvers.schedules import Schedule, schedule


def job_of(
    recipe: Recipe,
    cell: Cell,
    source: Source,
    checkpoint: str,
    options: dict[str, Any],
    *,
    images: int = 1,
    batch: int = 64,
    file: str | None = None,
) -> Job:
    """The run of one cell with ``options``, which are one of its variants.

    Classes come in turn, as many images of each.
    """
    s = source.schedule
    if cell.schedule is not None:
        values = dict(cell.schedule)
        s = schedule(values.pop("name"), **values)
    return Job(
        checkpoint=checkpoint,
        method=cell.method,
        steps=cell.steps,
        last=images - 1,
        batch=batch,
        options=options,
        schedule=cell.schedule if source.free else None,
        grid=cell.grid,
        levels=levels(cell, s),
        finish=cell.finish,
        teleport=landing(cell, s),
        labels="cycle" if recipe.network.classes else None,
        statistics=file,
        config=None,
    )


def levels(cell: Cell, s: Schedule) -> tuple[float, float]:
    """σ/α at the last and at the first time."""
    first, last = cell.ends
    return _rho(s, last), _rho(s, first)


def landing(cell: Cell, s: Schedule) -> float | None:
    """σ/α that a teleport lands on: named, or that of the node after the skipped ones."""
    if not cell.skipped:
        return cell.teleport
    low, high = (Point(s, FLOAT64, "rho", FLOAT64.number(v)) for v in levels(cell, s))
    whole = rule(cell.grid, cell.steps + cell.skipped, high, low)
    return float(whole.points[cell.skipped].rho)


def _rho(s: Schedule, t: float) -> float:
    return float(Point(s, FLOAT64, "t", FLOAT64.number(t)).rho)
