"""Where the steps are: nodes from noise to data, given or laid by a rule.

A grid carries its field: the same call with ``MP(50)`` in place of ``FLOAT64`` gives the same
nodes to 50 digits.
"""

# pyright: reportUnnecessaryIsInstance=false
# Nodes and rules come from callers, who may pass anything.

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from solvers.field import Field, Scalar
from solvers.float64 import FLOAT64
from solvers.point import Point
from solvers.schedules import ROUNDING, Schedule

CLOCKS = ("t", "rho", "lam", "sigma")


@dataclass(frozen=True, eq=False)
class Grid:
    """Nodes of strictly decreasing noise on one schedule."""

    schedule: Schedule
    F: Field
    points: tuple[Point, ...]

    @property
    def steps(self) -> int:
        """Intervals."""
        return len(self.points) - 1


def explicit(schedule: Schedule, clock: str, values: Sequence[Any], *, F: Field = FLOAT64) -> Grid:
    """The grid of these values of t, rho, lam or sigma (where α = 1), taken exactly."""
    if clock not in CLOCKS:
        raise ValueError(f"grid: got {clock!r}; {', '.join(CLOCKS)} are allowed")
    name = f"grid.{clock}"
    if clock == "sigma" and schedule.name not in ("edm", "ve"):
        raise ValueError(
            f"{name}: got schedule {schedule.name!r}; sigma is allowed where alpha = 1"
        )
    if not isinstance(values, list | tuple) or len(values) < 2:
        raise ValueError(f"{name}: got {values!r}; a list of at least two nodes is allowed")
    for i, v in enumerate(values):
        number = isinstance(v, int | float | Fraction | Scalar) and not isinstance(v, bool)
        if not number or not math.isfinite(float(v)):
            raise ValueError(f"{name}[{i}]: got {v!r}; a finite number is allowed")
        if clock in ("rho", "sigma") and float(v) <= 0:
            raise ValueError(
                f"{name}[{i}]: got {v!r}; sigma > 0 is allowed (finish='denoise' ends at 0)"
            )
    kind = "rho" if clock == "sigma" else clock
    scalars = (v if isinstance(v, Scalar) else F.number(v) for v in values)
    points = tuple(Point(schedule, F, kind, v) for v in scalars)
    return checked(Grid(schedule, F, points), name, [float(v) for v in values])


def checked(grid: Grid, name: str, shown: Sequence[float]) -> Grid:
    """The grid, if every node lies on the schedule and noise strictly decreases."""
    s = grid.schedule
    low, high = s.span
    slack = ROUNDING * max(1.0, high if math.isfinite(high) else 1.0)
    noise: list[float] = []
    for i, p in enumerate(grid.points):
        if p.silent and i == 0:
            noise.append(-math.inf)
            continue
        t = float(p.t) if p.given == "t" else None
        silent = (
            f"; alpha > 0 is allowed here ({s.name} may start at t = {s.silent})"
            if s.silent
            else ""
        )
        if t is not None and not (low - slack <= t <= high + slack):
            raise ValueError(
                f"{name}[{i}]: got {shown[i]!r}; {low} <= t <= {high} is allowed{silent}"
            )
        try:
            lam = float(p.lam)
            t = float(p.t)
        except (ArithmeticError, ValueError, TypeError):
            lam = math.nan
        if not math.isfinite(lam):
            raise ValueError(
                f"{name}[{i}]: got {shown[i]!r}; alpha > 0 and sigma > 0 are allowed{silent}"
            )
        if t is None or not (low - slack <= t <= high + slack):
            raise ValueError(
                f"{name}[{i}]: got {shown[i]!r} (t = {t!r});"
                f" nodes with {low} <= t <= {high} are allowed"
            )
        noise.append(lam)
    for i in range(1, len(noise)):
        if not noise[i] > noise[i - 1]:
            raise ValueError(
                f"{name}[{i}]: got {shown[i]!r} after {shown[i - 1]!r};"
                " nodes of strictly decreasing noise are allowed"
            )
    return grid


# --- rules: each maps a point to a coordinate in which the nodes are equally spaced --------------

Rule = tuple[str, Callable[[Scalar, Field], Scalar], Callable[[Scalar, Field], Scalar]]


def _power(clock: str, kappa: float) -> Rule:
    def up(x: Scalar, F: Field) -> Scalar:
        return F.exp(F.log(x) / F.number(kappa))

    return clock, up, lambda y, F: F.exp(F.log(y) * F.number(kappa))


def _same(clock: str) -> Rule:
    return clock, lambda x, F: x, lambda x, F: x


def _nsr(end: Point, k: float) -> Rule:
    offset = end.rho * end.F.number(k)
    return "rho", lambda x, F: F.log(x + offset), lambda y, F: F.exp(y) - offset


RULES: dict[str, tuple[Callable[[Point, Mapping[str, float]], Rule], dict[str, float]]] = {
    "t": (lambda end, o: _same("t"), {}),
    "t2": (lambda end, o: _power("t", 2.0), {}),
    "logsnr": (lambda end, o: _same("lam"), {}),
    "rho": (lambda end, o: _same("rho"), {}),
    "karras": (lambda end, o: _power("rho", o["rho"]), {"rho": 7.0}),
    "nsr": (lambda end, o: _nsr(end, o["k"]), {"k": 3.1}),
}
"""Uniform in t, √t, λ, ρ, ρ^{1/κ} (EDM's κ = 7), log(ρ + k ρ_end)."""


def rule(
    name: str, steps: int, start: Point, end: Point, options: Mapping[str, float] | None = None
) -> Grid:
    """``steps`` intervals from start to end, equally spaced in the rule's coordinate."""
    if name not in RULES:
        near = difflib.get_close_matches(str(name), RULES, n=3, cutoff=0.3)
        raise ValueError(
            f"grid.name: got {name!r}; nearest: {', '.join(near) or 'none'};"
            f" allowed: {', '.join(RULES)}"
        )
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= 100_000:
        raise ValueError(f"grid.steps: got {steps!r}; an integer from 1 to 100000 is allowed")
    make, defaults = RULES[name]
    for key, value in (options or {}).items():
        if key not in defaults:
            allowed = ", ".join(defaults) or "no options"
            raise ValueError(f"grid.{key}: got {value!r}; rule {name} takes {allowed}")
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not math.isfinite(value) or value <= 0:
            raise ValueError(f"grid.{key}: got {value!r}; a positive number is allowed")
    F = start.F
    checked(Grid(start.schedule, F, (start, end)), "grid", [float(start.value), float(end.value)])
    clock, up, down = make(end, {**defaults, **(options or {})})
    if start.silent and clock != "t":
        raise ValueError(f"grid.start: got alpha = 0; rule {name} needs alpha > 0 at the start")
    if name in ("t2",) and float(end.t) < 0:
        raise ValueError(f"grid.end: got {float(end.t)!r}; t >= 0 is allowed")
    a, b = (up(getattr(p, clock), F) for p in (start, end))
    inner = (down(a + (b - a) * i / steps, F) for i in range(1, steps))
    points = (start, *(Point(start.schedule, F, clock, v) for v in inner), end)
    shown = [float(p.value) for p in points]
    return checked(Grid(start.schedule, F, points), "grid", shown)


def laid(
    schedule: Schedule,
    name: str,
    *,
    steps: int,
    start: float,
    end: float,
    F: Field = FLOAT64,
    **options: float,
) -> Grid:
    """``rule`` between two times of the schedule's own clock."""
    for key, value in (("start", start), ("end", end)):
        real = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
        if not real or not math.isfinite(value):
            raise ValueError(f"grid.{key}: got {value!r}; a finite time is allowed")
    ends = (Point(schedule, F, "t", F.number(t)) for t in (start, end))
    return rule(name, steps, *ends, options=options)


def inner_nodes(
    grid: Grid, orders: Sequence[int], name: str, options: Mapping[str, float] | None = None
) -> dict[str, list[Any]]:
    """Options r1 and r2 of a singlestep method: each step split by a rule as the grid itself is.

    r_j = (ρ_j − ρ_s)/(ρ_t − ρ_s), the rule's nodes of order(s) intervals from s to t; None where a
    step has fewer stages.  Source: SciRE's code on discrete schedules, which takes these fractions
    of ρ for fractions of 1/ρ too.
    """
    if len(orders) != grid.steps:
        raise ValueError(
            f"orders: got {len(orders)}; one for each of {grid.steps} steps is allowed"
        )
    places: list[list[Any]] = []
    for order, (s, t) in zip(orders, itertools.pairwise(grid.points), strict=True):
        nodes = rule(name, order, s, t, options).points[1:-1]
        fractions = ((p.rho - s.rho) / (t.rho - s.rho) for p in nodes)
        places.append([grid.F.out(r) for r in fractions])
    return {f"r{j + 1}": [p[j] if j < len(p) else None for p in places] for j in (0, 1)}
