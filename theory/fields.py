"""Exact and many-digit fields: ``MP(digits)`` for references, ``Poly`` and ``ring`` for proofs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import mpmath
import sympy
from sympy.polys.fields import field as fraction_field
from sympy.polys.rings import PolyElement
from sympy.polys.rings import ring as polynomial_ring

from solvers.field import Exact, Field, Scalar
from solvers.series import Series, series_over

GUARD = 12
"""Digits that MP carries beyond those it promises."""


class _MP(Field):
    """mpmath numbers in a context of their own, so no global precision matters."""

    takes_int = True

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self.quadrature = digits + GUARD // 2
        self.ctx = mpmath.mp.clone()
        self.ctx.dps = digits + GUARD

    def lift(self, q: Exact) -> Scalar:
        """The quotient, to all digits."""
        if isinstance(q, int):
            return Scalar(self, self.ctx.mpf(q))
        return Scalar(self, self.ctx.mpf(q.numerator) / self.ctx.mpf(q.denominator))

    def number(self, x: Any) -> Scalar:
        """Also mpmath numbers and decimal strings."""
        if isinstance(x, str) or hasattr(x, "_mpf_"):
            return Scalar(self, self.ctx.mpf(x))
        return super().number(x)

    def exp(self, x: Scalar) -> Scalar:
        """e^x."""
        return Scalar(self, self.ctx.exp(x.v))

    def log(self, x: Scalar) -> Scalar:
        """Natural logarithm, x > 0."""
        if x.v <= 0:
            raise ValueError(f"log: got {x.v}; a positive number is allowed")
        return Scalar(self, self.ctx.log(x.v))

    def expm1(self, x: Scalar) -> Scalar:
        """e^x − 1."""
        return Scalar(self, self.ctx.expm1(x.v))

    def log1p(self, x: Scalar) -> Scalar:
        """log(1 + x)."""
        return Scalar(self, self.ctx.log1p(x.v))

    def sqrt(self, x: Scalar) -> Scalar:
        """Square root."""
        return Scalar(self, self.ctx.sqrt(x.v))

    def cos(self, x: Scalar) -> Scalar:
        """Cosine."""
        return Scalar(self, self.ctx.cos(x.v))

    def sin(self, x: Scalar) -> Scalar:
        """Sine."""
        return Scalar(self, self.ctx.sin(x.v))

    def acos(self, x: Scalar) -> Scalar:
        """Inverse cosine."""
        return Scalar(self, self.ctx.acos(x.v))

    def asinh(self, x: Scalar) -> Scalar:
        """Inverse hyperbolic sine."""
        return Scalar(self, self.ctx.asinh(x.v))

    def __repr__(self) -> str:
        return f"MP({self.digits})"


@cache
def MP(digits: int = 50) -> _MP:
    """The field of ``digits`` decimal digits."""
    return _MP(digits)


class Poly(Field):
    """Q(parameters)[symbols]: parameters may be divided by, symbols may not."""

    digits = 0

    def __init__(self, parameters: Sequence[str], symbols: Sequence[str]) -> None:
        self.parameters, self.symbols = tuple(parameters), tuple(symbols)
        domain: Any = sympy.QQ
        if parameters:
            domain, *generators = fraction_field(list(parameters), sympy.QQ)
            domain = domain.to_domain()
        self.domain = domain
        self.ring, *elements = polynomial_ring(list(symbols) or ["_"], domain)
        self.generators = {n: Scalar(self, e) for n, e in zip(symbols, elements, strict=False)}
        if parameters:
            self.generators |= {
                n: Scalar(self, self.ring.ground_new(g))
                for n, g in zip(parameters, generators, strict=True)
            }

    def lift(self, q: Exact) -> Scalar:
        """A constant polynomial."""
        q = Fraction(q)
        constant = self.domain.convert(sympy.QQ(q.numerator, q.denominator), sympy.QQ)
        return Scalar(self, self.ring.ground_new(constant))

    def symbol(self, name: str) -> Scalar:
        """A parameter or symbol."""
        return self.generators[name]

    def irrational(self, name: str, value: Callable[[Field], Scalar]) -> Scalar:
        """The parameter of this name: a transcendental number satisfies no polynomial identity."""
        return self.generators[name]

    def div(self, a: PolyElement, b: PolyElement) -> PolyElement:  # type: ignore[override]
        """By a nonzero constant."""
        if not b.is_ground or not b:
            raise ZeroDivisionError(f"division by {b}, which is no invertible constant")
        return a.mul_ground(self.domain.one / b.LC)

    def pow(self, x: Scalar, q: Fraction) -> Scalar:
        """Of 1 only."""
        if x.v != 1:
            raise TypeError(f"power {q}: got {x.v}; the exact field takes roots of 1 only")
        return x

    def less(self, a: PolyElement, b: PolyElement) -> bool:  # type: ignore[override]
        """SymPy would compare monomials."""
        raise TypeError(f"{a} < {b} was asked; a proof cannot follow a branch")

    def approximate(self, raw: Any) -> float:
        """A proof has no floats, so no branch may depend on one."""
        raise TypeError(
            "an exact scalar was compared or turned into a float; a proof cannot follow"
        )

    def __repr__(self) -> str:
        return "Ring"


def ring(parameters: Sequence[str], symbols: Sequence[str], n: int) -> Series:
    """Series in h up to h^n over Q(parameters)[symbols]."""
    return series_over(Poly(parameters, symbols), n)
