r"""Model statistics l, s, b of DPM-Solver-v3 as tables in λ, and the integrals its form needs.

    L = ∫ l,    S = ∫ s,    M = e^S ∫ e^{−S} b,  which solves M' = s M + b,

per coordinate.  ``Table`` is the file: ``lam`` (n+1,) and ``l``, ``s``, ``b`` (n+1, D) in one
.npz, whose λ range is checked against every grid.  From it come ``Smooth`` (cubic splines,
integrated exactly) and ``Trapezoid`` (sums over the nodes, to which the grid is snapped, as the
released code has it: Zheng et al. 2023).
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

from solvers.each import vector
from solvers.empirical import ModelStatistics, no_table
from solvers.field import Scalar
from solvers.form import quadrature
from solvers.piecewise import ROUNDING, Floats, Piecewise, hermite, slopes, spline
from solvers.point import Point

UNEVEN = 1e-3
"""In spacings: how far a table's nodes may lie from even ones, a grid's ends from a table's."""


@dataclass(frozen=True, eq=False)
class Smooth:
    """l, L, S and M as smooth functions of λ; L must be the integral of l, S and M are free."""

    l: Piecewise
    L: Piecewise
    S: Piecewise
    M: Piecewise

    def integrated(self, how: str) -> Smooth:
        """Itself."""
        return self if how == "accurate" else no_table()

    def places(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """The points, if the range covers them."""
        for p in points:
            self.l.panel(float(p.lam))
        return points

    def rule(self, start: Point, end: Point) -> list[tuple[Scalar, Scalar]]:
        """Gauss's, cut where the polynomials change."""
        return quadrature(start, end, self.l.breaks.tolist())


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function that is known at the nodes alone: values (n+1, D)."""

    lam: Floats
    table: Floats

    def index(self, lam: float) -> int:
        """The nearest node."""
        low, high = self.lam[[0, -1]]
        return round((len(self.lam) - 1) * (lam - low) / (high - low))

    def __call__(self, p: Point) -> Scalar:
        """At a node."""
        lam = float(p.lam)
        i = min(max(self.index(lam), 0), len(self.lam) - 1)
        if abs(lam - self.lam[i]) > ROUNDING * max(1.0, abs(lam)):
            raise ValueError(f"statistics: got lam = {lam!r}; a node of the table is allowed")
        row = self.table[i]
        return Scalar(p.F, row) if isinstance(p.lam.v, np.floating) else vector(p.F, row.tolist())


@dataclass(frozen=True, eq=False)
class Trapezoid:
    """The same at the nodes of a table, by trapezoid sums: what runs lies at nodes."""

    l: Lookup
    L: Lookup
    S: Lookup
    M: Lookup

    def integrated(self, how: str) -> Trapezoid:
        """Itself."""
        return self

    def places(self, points: tuple[Point, ...]) -> tuple[Point, ...]:
        """The nearest nodes; the table's ends must be those of the points."""
        nodes, spacing = self.l.lam, self.l.lam[1] - self.l.lam[0]
        given = [float(p.lam) for p in points]
        if max(abs(given[0] - nodes[0]), abs(given[-1] - nodes[-1])) > UNEVEN * spacing:
            raise ValueError(
                f"statistics: got a table from lam = {nodes[0]:.9g} to {nodes[-1]:.9g} for a grid"
                f" from {given[0]:.9g} to {given[-1]:.9g}; with integrals='table' one between the"
                " grid's ends is allowed"
            )
        indices = [self.l.index(lam) for lam in given]
        for n, (i, j) in enumerate(itertools.pairwise(indices), 1):
            if i == j:
                raise ValueError(
                    f"grid: got nodes {n - 1} and {n} (lam = {given[n - 1]:.9g}, {given[n]:.9g})"
                    f" at one node of the table, {i} of {len(nodes) - 1}; fewer steps or a finer"
                    " table are allowed"
                )
        F, s = points[0].F, points[0].schedule
        return tuple(Point(s, F, "lam", F.number(float(nodes[i]))) for i in indices)

    def rule(self, start: Point, end: Point) -> list[tuple[Scalar, Scalar]]:
        """The trapezoid rule on the table's nodes."""
        F = start.F
        i, j = (self.l.index(float(p.lam)) for p in (start, end))
        lam = [F.number(float(v)) for v in self.l.lam[i : j + 1]]
        gaps = [(b - a) / 2 for a, b in itertools.pairwise(lam)]
        zero = F.lift(0)
        weights = [a + b for a, b in zip([zero, *gaps], [*gaps, zero], strict=True)]
        return list(zip(lam, weights, strict=True))


@dataclass(frozen=True, eq=False)
class Table:
    """l, s and b, (n+1, D), at increasing λ, (n+1,): the file, and what estimators return."""

    lam: Floats
    l: Floats
    s: Floats
    b: Floats

    def __post_init__(self) -> None:
        for name in ("lam", "l", "s", "b"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        shape = (len(self.lam), *self.l.shape[1:])
        if self.lam.ndim != 1 or len(self.lam) < 2 or (np.diff(self.lam) <= 0).any():
            raise ValueError(
                f"statistics.lam: got {_shown(self.lam)}; (n+1,) increasing numbers are allowed"
            )
        for name in ("l", "s", "b"):
            array = getattr(self, name)
            if array.ndim != 2 or array.shape != shape or not array.size:
                raise ValueError(
                    f"statistics.{name}: got shape {array.shape}; (n+1, D) with n+1 ="
                    f" {len(self.lam)}, as lam has, and one D for l, s and b is allowed"
                )

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """The table in a .npz file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                missing = [k for k in ("lam", "l", "s", "b") if k not in file]
                arrays = {} if missing else {k: file[k] for k in ("lam", "l", "s", "b")}
        except (OSError, ValueError, AttributeError, TypeError, EOFError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "no .npz file"
            raise ValueError(
                f"statistics: got {str(path)!r} ({why}); a .npz with lam, l, s, b is allowed"
            ) from None
        if missing:
            raise ValueError(
                f"statistics: got {str(path)!r} without {', '.join(missing)};"
                " a .npz with lam, l, s, b is allowed"
            )
        return cls(**arrays)

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        path = Path(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part.npz")
        try:
            np.savez(part, lam=self.lam, l=self.l, s=self.s, b=self.b)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def integrated(self, how: str) -> ModelStatistics:
        """``how``: "accurate" or "table"."""
        return self.smooth if how == "accurate" else self.trapezoid

    @cached_property
    def smooth(self) -> Smooth:
        """Splines of l, s and b; M is exact at the nodes with its first two derivatives."""
        lam, rates = self.lam, [slopes(self.lam, v) for v in (self.s, self.b)]
        l, s = spline(lam, self.l), hermite(lam, self.s, rates[0])
        b, S = hermite(lam, self.b, rates[1]), s.integral()
        at = S.values(lam)
        step = np.diff(lam)
        gains = np.zeros_like(self.b[1:])
        for x, w in zip(*leggauss(8), strict=True):
            inside = lam[:-1] + step * (1 + x) / 2
            gains += w / 2 * step[:, None] * np.exp(at[:-1] - S.values(inside)) * b.values(inside)
        M = carried(at, gains)
        slope = self.s * M + self.b
        curve = rates[0] * M + self.s * slope + rates[1]
        return Smooth(l, l.integral(), S, hermite(lam, M, slope, curve))

    @cached_property
    def trapezoid(self) -> Trapezoid:
        """Prefix sums on the nodes, which must be even."""
        even = np.linspace(self.lam[0], self.lam[-1], len(self.lam))
        if (abs(self.lam - even) > UNEVEN * (even[1] - even[0])).any():
            raise ValueError(
                "statistics.lam: got uneven nodes; even ones are allowed with integrals='table'"
            )
        step = np.diff(even)[:, None]
        L, S = (_sums(step * (v[1:] + v[:-1]) / 2) for v in (self.l, self.s))
        M = carried(S, step / 2 * (self.b[:-1] + np.exp(S[:-1] - S[1:]) * self.b[1:]))
        l, L, S, M = (Lookup(even, v) for v in (self.l, L, S, M))
        return Trapezoid(l, L, S, M)


def carried(S: Floats, gains: Floats) -> Floats:
    """M at the nodes: M_{i+1} = e^{S_{i+1} − S_i} (M_i + gain_i), M = 0 where S is largest.

    Away from there both directions of the recursion only shrink what they carry.
    """
    top, M = S.argmax(0), np.zeros_like(S)
    for i in range(len(S) - 2, -1, -1):
        M[i] = np.where(i < top, np.exp(S[i] - S[i + 1]) * M[i + 1] - gains[i], 0)
    for i in range(len(S) - 1):
        M[i + 1] = np.where(i < top, M[i + 1], np.exp(S[i + 1] - S[i]) * (M[i] + gains[i]))
    return M


def _sums(steps: Floats) -> Floats:
    return np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])


def _numbers(name: str, value: Any) -> Floats:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(f"statistics.{name}: got {_shown(array)}; finite numbers are allowed")
    return array.astype(np.float64)


def _shown(array: NDArray[Any]) -> str:
    bad = array[~np.isfinite(array)] if array.dtype.kind == "f" else array[:0]
    return f"{bad.flat[0]}" if bad.size else f"{array.dtype} of shape {array.shape}"
