"""Exact and many-digit fields: ``MP(digits)`` for references, ``Poly`` and ``ring`` for proofs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, lru_cache
from math import prod
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
TOP = 6
"""φ_k up to this k are found together."""


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

    def phi(self, k: int, z: Scalar) -> Scalar:
        """Where |z| < 1 all φ_k of one z come from one series."""
        if k > TOP or not abs(z.v) < 1:
            return super().phi(k, z)
        return Scalar(self, self._phis(z.v)[k])

    @lru_cache(maxsize=1 << 12)  # noqa: B019  (one field a number of digits)
    def _phis(self, z: Any) -> tuple[Any, ...]:
        """φ₀ .. φ_TOP: the last by its series, the others by φ_k = z φ_{k+1} + 1/k!."""
        term = total = self.ctx.mpf(1) / math.factorial(TOP)
        j = TOP
        while abs(term) > self.ctx.eps * total:
            j += 1
            term = term * z / j
            total += term
        out = [total]
        for k in range(TOP - 1, -1, -1):
            out.append(z * out[-1] + self.ctx.mpf(1) / math.factorial(k))
        return tuple(reversed(out))

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
        """Of 1, and of Π s^e for parameters s > 0 where every q e is whole."""
        if x.v == 1:
            return x
        powers = [e * q for e in self._exponents(x.v)]
        if not powers or any(e.denominator != 1 for e in powers):
            raise TypeError(
                f"power {q}: got {x.v}; the exact field takes roots of 1, and of monomials in its"
                " parameters whose exponents stay whole"
            )
        root = prod(s ** int(e) for s, e in zip(self.domain.gens, powers, strict=True))
        return Scalar(self, self.ring.ground_new(root))

    def _exponents(self, a: PolyElement) -> list[int]:
        """e of Π s^e; of anything else, none."""
        if not (self.parameters and a.is_ground and a):
            return []
        parts = [part.terms() for part in (a.LC.numer, a.LC.denom)]
        if any(len(terms) != 1 or terms[0][1] != 1 for terms in parts):
            return []
        (up, _), (down, _) = parts[0][0], parts[1][0]
        return [m - n for m, n in zip(up, down, strict=True)]

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
