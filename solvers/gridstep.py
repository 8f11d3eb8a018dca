"""A step as a weight function sees it: between two nodes of a grid, or on a uniform one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from solvers.field import Field, Scalar
from solvers.form import Form, Moments, clock, place
from solvers.point import Point
from solvers.weights import Weight


@dataclass(frozen=True, eq=False)
class GridStep:
    """A step between two nodes, as a weight function sees it (``solvers.method.Step``)."""

    form: Form
    points: tuple[Point, ...]
    taus: tuple[Scalar, ...]
    index: int
    memo: dict[Any, Moments] = field(default_factory=dict[Any, Moments])

    @property
    def F(self) -> Field:
        """The field of the grid."""
        return self.points[0].F

    @property
    def steps(self) -> int:
        """Steps of the whole grid."""
        return len(self.taus) - 1

    @property
    def h(self) -> Scalar:
        """Of the form's clock."""
        return self.taus[self.index + 1] - self.taus[self.index]

    @property
    def start(self) -> Point:
        """Where the step begins, at the clock value that the plan stores."""
        return self.points[self.index]

    def moments(self, c: Weight) -> Moments:
        """k -> φ_k(c)."""
        key = c.v if isinstance(c, Scalar) else c
        if key not in self.memo:
            self.memo[key] = self.form.moments(self.F.lift(1) * c, self.start, self.h)
        return self.memo[key]

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """φ_k(c)."""
        return self.moments(c)(k)

    def time(self, c: Weight = 1) -> float | None:
        """t at c; a discrete model's in (0, 1]."""
        end = self.points[self.index + 1] if c == 1 else None
        p = end or self.form.end(self.F.lift(1) * c, self.start, self.h)
        return p.schedule.label(float(p.t))

    def past(self, j: int) -> Scalar:
        """(τ_{n−j} − τ_n)/h."""
        return (self.taus[self.index - j] - self.taus[self.index]) / self.h

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        """h_{n−j}/h_n."""
        n = self.index
        a = [self.clock(clock, i) for i in (n - j, n - j + 1, n, n + 1)]
        return (a[1] - a[0]) / (a[3] - a[2])

    def clock(self, name: str | None, i: int) -> Scalar:
        """A clock at node i; None is the form's own."""
        return self.taus[i] if name is None else clock(name, self.points[i])

    def at(self, fraction: Weight, clock: str) -> Scalar:
        """Where in the form's clock ``clock`` has made this fraction of its way."""
        a, b = (self.clock(clock, i) for i in (self.index, self.index + 1))
        value = a + (b - a) * fraction
        p = place(clock, self.start.schedule, self.F, value)
        return (self.form.tau(p) - self.taus[self.index]) / self.h


@dataclass(frozen=True, eq=False)
class Uniform:
    """A step of a uniform grid with h L = 0 and K = 1: the classical tableau."""

    F: Field
    index: int = 50
    steps: int = 100

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """1/k!."""
        return self.F.lift(1) / math.factorial(k)

    def time(self, c: Weight = 1) -> float | None:
        """Of no schedule."""
        return None

    def past(self, j: int) -> Scalar:
        """−j."""
        return self.F.lift(-j)

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        """1."""
        return self.F.lift(1)

    def at(self, fraction: Weight, clock: str) -> Scalar:
        """The fraction itself."""
        return self.F.lift(1) * fraction
