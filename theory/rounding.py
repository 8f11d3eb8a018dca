"""How far the weights that run are from the exact ones, in ulps of the row's largest weight.

A plan's nodes are floats and count as exact.  The same plan is made again with 50 digits from
these floats, and every stored weight, φ₀, γ and deviation of noise is compared with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from solvers.empirical import Empirical, Fading
from solvers.field import Scalar
from solvers.form import Form
from solvers.forms import Fitted, Statistics
from solvers.grids import Grid, laid
from solvers.method import Entry
from solvers.ops import Advance
from solvers.plan import plan
from solvers.schedules import schedule
from theory.fields import MP

F = MP(50)
STATISTICS = Statistics(mean=(0.3, -1.25), variances=(0.02, 1.7))
"""Data's moments for the forms that need some."""


@cache
def grids() -> tuple[Grid, ...]:
    """Where certificates look: equal and unequal steps, coarse and fine, three schedules."""
    linear, edm, flow = schedule("vp_linear"), schedule("edm"), schedule("flow")
    return (
        laid(linear, "logsnr", steps=6, start=1.0, end=1e-3),
        laid(linear, "t", steps=40, start=0.9, end=0.2),
        laid(edm, "karras", steps=8, start=80.0, end=0.002),
        laid(flow, "t", steps=6, start=0.98, end=0.05),
    )


def exact(grid: Grid, form: Form) -> Grid:
    """The grid at 50 digits through the form's clock values that a plan on ``grid`` stores."""
    s = grid.schedule
    taus = (F.number(grid.F.out(form.tau(p))) for p in grid.points)
    return Grid(s, F, tuple(form.point(s, F, tau) for tau in taus))


def ulps(entry: Entry, grid: Grid, options: Mapping[str, Any] | None = None) -> float:
    """The worst error of the method's float64 plan on this grid."""
    options = dict(options or {})
    form = entry.form(options)
    known = Fading(STATISTICS) if isinstance(form, Empirical) else STATISTICS
    needs = {"statistics": known} if isinstance(form, Fitted) else {}
    stored = plan(entry, grid, **needs, **options)
    true = plan(entry, exact(grid, form), **needs, **options)
    pairs = (
        pair
        for a, b in zip(stored.ops, true.ops, strict=True)
        if isinstance(a, Advance) and isinstance(b, Advance)
        for pair in _rows(a, b)
    )
    return max(distance(got, want) for got, want in pairs)


def worst_ulps(
    entry: Entry, options: Mapping[str, Any] | None = None, on: Sequence[Grid] | None = None
) -> float:
    """The worst over several grids, by default those of the certificates."""
    return max(ulps(entry, grid, options) for grid in (grids() if on is None else on))


def _rows(a: Advance, b: Advance) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """Numbers that belong together: one row's weights; φ₀, γ and deviations each alone."""
    for x, y in zip(a.weights.rows, b.weights.rows, strict=True):
        yield (*x.now, *x.past, *x.d), (*y.now, *y.past, *y.d)
    alone = ((*op.phi0, *op.force, *op.deviation) for op in (a, b))
    for x, y in zip(*alone, strict=True):
        yield (x,), (y,)


def distance(stored: Sequence[Any], true: Sequence[Any]) -> float:
    """The largest error of a row in ulps of its largest number; arrays by coordinate."""
    if isinstance(true[0], tuple):
        columns = zip(*stored, strict=True), zip(*true, strict=True)
        return max(distance(x, y) for x, y in zip(*columns, strict=True))
    unit = math.ulp(max(abs(w) for w in stored))
    return max(float(abs(_error(w, t))) / unit for w, t in zip(stored, true, strict=True))


def _error(stored: float, true: Scalar) -> Scalar:
    return F.number(stored) - true
