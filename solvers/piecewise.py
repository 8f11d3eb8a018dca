"""Piecewise polynomials in λ, one value a coordinate: splines and adaptive interpolation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebder, chebint, chebval, chebvander
from numpy.typing import NDArray

from solvers.each import vector
from solvers.field import Scalar
from solvers.point import Point

Floats = NDArray[np.floating[Any]]
ROUNDING = 1e-9
"""How far a grid may leave the range."""


@dataclass(frozen=True, eq=False)
class Piecewise:
    """Polynomials between breaks: Σ_k c_k T_k(y), y from −1 to 1 across a panel.

    breaks (m+1,), coefficients (m, terms, D); a call at a point answers in the point's field.
    """

    breaks: Floats
    coefficients: Floats

    def panel(self, lam: float) -> int:
        """The panel of λ; ``ValueError`` outside all of them."""
        low, high = self.breaks[[0, -1]]
        if not low - ROUNDING <= lam <= high + ROUNDING:
            raise ValueError(
                f"statistics: got lam = {lam!r}; their range {low:.9g} <= lam <= {high:.9g}"
                " is allowed"
            )
        inside = int(np.searchsorted(self.breaks, lam, "right")) - 1
        return min(max(inside, 0), len(self.coefficients) - 1)

    def __call__(self, p: Point) -> Scalar:
        """Clenshaw's recurrence; numpy's own where λ is a number of numpy's."""
        F, lam = p.F, p.lam
        i = self.panel(float(lam))
        if isinstance(lam.v, np.floating):
            return Scalar(F, self.values(lam.v))
        a, b = (F.number(float(v)) for v in self.breaks[i : i + 2])
        y = (lam * 2 - a - b) / (b - a)
        terms = [vector(F, c.tolist()) for c in self.coefficients[i]]
        high, higher = terms[-1] * 0, terms[-1] * 0
        for c in reversed(terms[1:]):
            high, higher = c + 2 * y * high - higher, high
        return terms[0] + y * high - higher

    def values(self, lam: Any) -> Floats:
        """At λ of any shape: (.., D)."""
        i = np.searchsorted(self.breaks, lam, "right") - 1
        i = i.clip(0, len(self.coefficients) - 1)
        a, b = self.breaks[i], self.breaks[i + 1]
        basis = chebvander((2 * lam - a - b) / (b - a), self.coefficients.shape[1] - 1)
        basis = basis.reshape(*np.shape(lam), -1)
        return np.einsum("...k,...kd->...d", basis, self.coefficients[i])

    def integral(self) -> Piecewise:
        """∫ from the first break."""
        half = np.diff(self.breaks)[:, None, None] / 2
        c = chebint(self.coefficients, axis=1, lbnd=-1) * half
        c[1:, 0] += np.cumsum(c.sum(1), axis=0)[:-1]  # T_k(1) = 1: the sum is the panel's end
        return Piecewise(self.breaks, c)

    def scaled(self, factor: Floats) -> Piecewise:
        """Times one number a coordinate."""
        return Piecewise(self.breaks, self.coefficients * factor)


def hermite(breaks: Floats, *derivatives: Floats) -> Piecewise:
    """With these values (m+1, D), slopes, .. at both ends of every panel."""
    n = len(derivatives)
    basis = np.eye(2 * n)
    rows = [chebval(side, chebder(basis, j)) for side in (-1.0, 1.0) for j in range(n)]
    half = np.diff(breaks)[:, None] / 2
    data = [
        d[ends] * half**j
        for ends in (slice(None, -1), slice(1, None))
        for j, d in enumerate(derivatives)
    ]
    flat = np.linalg.solve(np.array(rows), np.array(data).reshape(2 * n, -1))
    return Piecewise(breaks, flat.reshape(2 * n, *data[0].shape).transpose(1, 0, 2))


def slopes(lam: Floats, values: Floats) -> Floats:
    """At the nodes, of the cubic spline without a knot at the second and the last but one."""
    n = len(lam)
    if n < 4:
        return np.gradient(values, lam, axis=0, edge_order=2 if n == 3 else 1)
    h, rise = np.diff(lam), np.diff(values, axis=0) / np.diff(lam)[:, None]
    A = np.zeros((n, n))
    right = np.empty_like(values)
    for i in range(1, n - 1):  # the second derivative is continuous
        A[i, i - 1 : i + 2] = h[i], 2 * (h[i - 1] + h[i]), h[i - 1]
        right[i] = 3 * (h[i] * rise[i - 1] + h[i - 1] * rise[i])
    for row, a, b, ra, rb, places in (
        (0, h[0], h[1], rise[0], rise[1], (0, 1)),
        (n - 1, h[-1], h[-2], rise[-1], rise[-2], (n - 1, n - 2)),
    ):  # and so is the third at the second node from each end
        A[row, list(places)] = b, a + b
        right[row] = ((3 * a + 2 * b) * b * ra + a * a * rb) / (a + b)
    return np.linalg.solve(A, right)


def spline(lam: Floats, values: Floats) -> Piecewise:
    """The cubic spline."""
    return hermite(lam, values, slopes(lam, values))


def chebyshev(
    f: Callable[[Floats], Floats], low: float, high: float, terms: int, tolerance: float
) -> Piecewise:
    """Interpolation of f, (n,) -> (n, D), in panels that are halved until the tail is small."""
    nodes = np.cos(np.pi * (np.arange(terms) + 0.5) / terms)
    inverse = np.linalg.inv(chebvander(nodes, terms - 1))

    def pieces(a: float, b: float) -> list[tuple[float, Floats]]:
        values = f((a + b) / 2 + (b - a) / 2 * nodes)
        c = inverse @ values
        settled = abs(c[-2:]).max(0) <= tolerance * np.maximum(1, abs(values).max(0))
        if settled.all() or b - a < 0.05:
            return [(a, c)]
        middle = (a + b) / 2
        return pieces(a, middle) + pieces(middle, b)

    found = pieces(low, high)
    return Piecewise(np.array([*(a for a, _ in found), high]), np.array([c for _, c in found]))


def joined(parts: list[Piecewise]) -> Piecewise:
    """Neighbouring ranges as one."""
    breaks = [p.breaks[:-1] for p in parts] + [parts[-1].breaks[-1:]]
    return Piecewise(np.concatenate(breaks), np.concatenate([p.coefficients for p in parts]))
