r"""Measuring a weak order: how far the law of a stochastic run is from the exact one, undrawn.

On Gaussian data N(m, v) a plan is affine in independent normals: its start's, and one ξ a draw.  A
run on vectors of their coefficients, the mean first, carries the mean and every covariance of
state and history exactly.  The history that a method needs has the exact joint law of the form's
SDE at the first nodes; the exact law at the end is N(α m, α² (v + ρ²)).  Plans and vectors are in
float64, as when samples are drawn: their rounding is far below these errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.measure import PROBLEM, Kind, grid, seed, seeds
from solvers.field import Scalar, total
from solvers.float64 import FLOAT64
from solvers.form import Form, panels
from solvers.method import Entry
from solvers.ops import Advance, Call, Plan, Renoise
from solvers.plan import plan
from solvers.point import Point
from solvers.schedules import Schedule
from solvers.step import run

Vector = NDArray[np.float64]
"""A random variable: its mean, then its coefficients of independent standard normals."""


@dataclass(frozen=True)
class Normal:
    """The data's law."""

    mean: Fraction
    variance: Fraction

    def marginal(self, p: Point) -> Scalar:
        """The variance of x/α."""
        return p.rho * p.rho + self.variance

    def gain(self, rho: Any) -> Any:
        """g = v/(v+ρ²)."""
        return self.variance / (rho * rho + self.variance)


DATA = Normal(Fraction(3, 10), Fraction(2))


@dataclass(frozen=True)
class Linear:
    """The model of this law on vectors: D = m + g (x/α − m)."""

    data: Normal
    size: int

    def unit(self, place: int) -> Vector:
        """1 for place 0, else a standard normal."""
        return np.eye(1, self.size, place)[0]

    @property
    def mean(self) -> Vector:
        """m."""
        return float(self.data.mean) * self.unit(0)

    def predict(self, kind: str, x: Vector, call: Call) -> Vector:
        """D, or ε = (x/α − D)/ρ."""
        rho, v = call.sigma / call.alpha, x / call.alpha
        data = self.mean + float(self.data.gain(Fraction(rho))) * (v - self.mean)
        return data if kind == "data" else (v - data) / rho

    def derivatives(
        self, schedule: Schedule, form: Form, tau: Any, u: Any, count: int
    ) -> Sequence[Vector]:
        """Asked for by Taylor methods alone."""
        raise TypeError("this model has no derivatives")


def errors(
    entry: Entry, kind: Kind, steps: Sequence[int], *, data: Normal = DATA, **options: Any
) -> list[tuple[float, float]]:
    """(largest step in the form's clock, error of mean and variance) for each number of steps."""
    out = []
    for n in steps:
        g = grid(PROBLEM, n, FLOAT64, kind)
        first = 0 if kind == "plain" else seeds(entry, options)
        p = plan(entry, g, first=first, **options)
        end = law(p, g.points[: first + 1], data) / float(g.points[-1].alpha)
        mean = end[0] - float(data.mean)
        variance = end[1:] @ end[1:] - float(data.marginal(g.points[-1]))
        h = max(abs(op.h) for op in p.ops if isinstance(op, Advance))
        out.append((h, math.hypot(mean, variance)))
    return out


def law(p: Plan, begin: Sequence[Point], data: Normal = DATA) -> Vector:
    """The end of the run as a random variable; ``begin`` are the nodes up to its start."""
    draws = sum(isinstance(op, Renoise) or _draws(op) for op in p.ops)
    model = Linear(data, 1 + len(begin) + draws)
    fresh = (model.unit(i) for i in count(1))
    states = list(start(p.form, begin, model, fresh))
    past = [seed(p, q, x, model, tuple) for q, x in zip(begin[:-1], states, strict=False)]
    return run(p, model, states[-1], history=past[::-1], noise=lambda: next(fresh)).x


def _draws(op: Any) -> bool:
    return isinstance(op, Advance) and any(row.noise != 0 for row in op.weights.rows)


def start(
    form: Form, points: Sequence[Point], model: Linear, fresh: Iterator[Vector]
) -> Iterator[Vector]:
    """The states at these points, of their exact joint law: v' − m = Φ (v − m) + a new normal."""
    p, data = points[0], model.data
    away = _root(data.marginal(p)) * next(fresh)
    yield float(p.alpha) * (model.mean + away)
    for p, q in pairwise(points):
        kept = transition(form, p, q, data)
        own = data.marginal(q) - kept * kept * data.marginal(p)
        away = float(kept) * away + _root(own) * next(fresh)
        yield float(q.alpha) * (model.mean + away)


def _root(x: Scalar) -> float:
    return float(x.F.sqrt(x))


def transition(form: Form, a: Point, b: Point, data: Normal = DATA) -> Scalar:
    """Φ of v = x/α: exp ∫ (L + K dN/du) dτ, in λ, for u, which is v times a known factor."""
    F = a.F

    def rate(lam: Scalar) -> Scalar:
        p = Point(a.schedule, F, "lam", lam)
        (L, K, _), r = form.coefficients(p), form.read(p)
        gain = data.gain(p.rho)
        slope = gain if r.kind == "data" else (1 - gain) / p.rho
        speed = {"lam": F.lift(1), "rho": -p.rho}[form.clock]
        return (L + K * (r.u_weight + r.p_weight * slope * form.scale(p) / p.alpha)) * speed

    grown = F.exp(total(F.integral(rate, *ends) for ends in pairwise(panels(a, b))))
    return grown * (form.scale(b) / b.alpha) / (form.scale(a) / a.alpha)
