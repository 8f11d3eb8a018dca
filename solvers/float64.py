"""The field of the weights that run."""

from __future__ import annotations

import math
from decimal import Context, Decimal
from fractions import Fraction

from solvers.field import Exact, Field, Scalar, series_terms


class Float64(Field):
    """float64 weights: computed with 40 digits, rounded once by ``out``.

    So a stored weight is the float nearest to the exact weight of the stored nodes, and no
    formula has to be rearranged against cancellation.  The 40 digits are ``decimal``'s.
    """

    digits, quadrature = 40, 25
    takes_int = True

    def __init__(self) -> None:
        self.ctx = Context(prec=self.digits, Emin=-(10**8), Emax=10**8)
        self.wide = Context(prec=2 * self.digits, Emin=-(10**8), Emax=10**8)
        c = self.ctx
        self.add, self.sub, self.mul, self.div = c.add, c.subtract, c.multiply, c.divide
        self.neg = c.minus

    def lift(self, q: Exact) -> Scalar:
        """The quotient, to 40 digits."""
        if isinstance(q, int):
            return Scalar(self, Decimal(q))
        return Scalar(self, self.ctx.divide(Decimal(q.numerator), Decimal(q.denominator)))

    def number(self, x: float | Exact) -> Scalar:
        """Floats exactly."""
        if isinstance(x, float) and math.isfinite(x):
            return Scalar(self, Decimal(x))
        return super().number(x)

    def out(self, x: Scalar) -> float:
        """The nearest float; ``OverflowError`` beyond its range."""
        value = float(x.v)
        if not math.isfinite(value):
            raise OverflowError(f"weight: got {x.v:.6e}; the range of float64 is allowed")
        return value

    def nearest(self, x: Scalar) -> Scalar:
        """The nearest float, as a scalar."""
        return Scalar(self, Decimal(float(x.v)))

    def exp(self, x: Scalar) -> Scalar:
        """e^x."""
        return Scalar(self, self.ctx.exp(x.v))

    def log(self, x: Scalar) -> Scalar:
        """Natural logarithm, x > 0."""
        return Scalar(self, self.ctx.ln(x.v))

    def expm1(self, x: Scalar) -> Scalar:
        """e^x − 1; twice the digits outlast the cancellation."""
        w = self.wide
        return Scalar(self, self.ctx.plus(w.subtract(w.exp(x.v), Decimal(1))))

    def log1p(self, x: Scalar) -> Scalar:
        """log(1 + x), likewise."""
        w = self.wide
        return Scalar(self, self.ctx.plus(w.ln(w.add(x.v, Decimal(1)))))

    def sqrt(self, x: Scalar) -> Scalar:
        """Square root, x >= 0."""
        return Scalar(self, self.ctx.sqrt(x.v))

    def cos(self, x: Scalar) -> Scalar:
        """Σ (−x²)^j/(2j)!, for |x| <= 4."""
        return self._trigonometric(x, 0)

    def sin(self, x: Scalar) -> Scalar:
        """Σ (−1)^j x^(2j+1)/(2j+1)!, for |x| <= 4."""
        return x * self._trigonometric(x, 1)

    def _trigonometric(self, x: Scalar, odd: int) -> Scalar:
        square, acc = x * x, self.lift(1)
        for j in range(series_terms(self.digits) + 16, 0, -1):
            acc = 1 - square * acc / ((2 * j - 1 + odd) * (2 * j + odd))
        return acc

    def acos(self, x: Scalar) -> Scalar:
        """2 atan √((1−x)/(1+x)), −1 < x <= 1; three halvings, then the series of atan."""
        y = self.sqrt((1 - x) / (1 + x))
        for _ in range(3):
            y = y / (1 + self.sqrt(1 + y * y))
        square, acc = y * y, self.lift(0)
        for j in range(2 * self.digits, -1, -1):
            acc = Fraction(1, 2 * j + 1) - square * acc
        return 16 * y * acc

    def asinh(self, x: Scalar) -> Scalar:
        """log1p(x + x²/(1 + √(1+x²))), x >= 0."""
        return self.log1p(x + x * x / (1 + self.sqrt(1 + x * x)))

    def __repr__(self) -> str:
        return "Float64"


FLOAT64 = Float64()
