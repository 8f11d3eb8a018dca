"""``Arrays``: the numpy version of ``Each``, for plans with many coordinates.

Weights are float64 arrays, computed in float64: faster than ``Each(FLOAT64)``, and good to a few
rounding errors where that is good to one half.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from solvers.each import vector
from solvers.field import Exact, Field, Scalar


class Arrays(Field):
    """numpy float64: a number, or one number per coordinate along the last axis."""

    digits, quadrature = 16, 18
    takes_int = True

    def lift(self, q: Exact) -> Scalar:
        """The nearest float."""
        return Scalar(self, np.float64(float(Fraction(q))))

    def vanishes(self, raw: Any) -> bool:
        """Never left out: one coordinate may be zero and another not."""
        return False

    def approximate(self, raw: Any) -> float:
        """The coordinate of largest modulus."""
        flat = np.atleast_1d(raw)
        return float(flat[np.argmax(np.abs(flat))])

    def out(self, x: Scalar) -> float | tuple[float, ...]:
        """A float, or a tuple with one float per coordinate."""
        if not np.all(np.isfinite(x.v)):
            raise OverflowError(f"weight: got {x.v}; the range of float64 is allowed")
        return float(x.v) if np.ndim(x.v) == 0 else tuple(float(v) for v in x.v)

    def phi(self, k: int, z: Scalar) -> Scalar:
        """Series where |z| < 1, quotient elsewhere, coordinate by coordinate."""
        if k == 0:
            return self.exp(z)
        small = np.abs(z.v) < 1
        inner = np.where(small, z.v, 0.5)
        acc = np.ones_like(inner)
        for m in range(k + 20, k, -1):
            acc = 1 + inner * acc / m
        outer = np.where(small, 1.0, z.v)
        value = np.exp(outer)
        for j in range(k):
            value = (value - 1 / math.factorial(j)) / outer
        return Scalar(self, np.where(small, acc / math.factorial(k), value))

    def exp(self, x: Scalar) -> Scalar:
        """e^x."""
        return Scalar(self, np.exp(x.v))

    def log(self, x: Scalar) -> Scalar:
        """Natural logarithm."""
        return Scalar(self, np.log(x.v))

    def expm1(self, x: Scalar) -> Scalar:
        """e^x − 1."""
        return Scalar(self, np.expm1(x.v))

    def log1p(self, x: Scalar) -> Scalar:
        """log(1 + x)."""
        return Scalar(self, np.log1p(x.v))

    def sqrt(self, x: Scalar) -> Scalar:
        """Square root."""
        return Scalar(self, np.sqrt(x.v))

    def cos(self, x: Scalar) -> Scalar:
        """Cosine."""
        return Scalar(self, np.cos(x.v))

    def sin(self, x: Scalar) -> Scalar:
        """Sine."""
        return Scalar(self, np.sin(x.v))

    def acos(self, x: Scalar) -> Scalar:
        """Inverse cosine."""
        return Scalar(self, np.arccos(x.v))

    def asinh(self, x: Scalar) -> Scalar:
        """Inverse hyperbolic sine."""
        return Scalar(self, np.arcsinh(x.v))

    def __repr__(self) -> str:
        return "Arrays"


@vector.register
def _(F: Arrays, values: Sequence[float | Exact]) -> Scalar:
    return Scalar(F, np.array([float(v) for v in values]))


ARRAYS = Arrays()
