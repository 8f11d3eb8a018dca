"""Fields: the scalars in which a solver's weights are computed.

A weight function uses ``+ - * /``, ``int`` and ``Fraction`` constants and ``step.phi``; which
scalars these act on is decided by the field.  ``Float64`` makes the weights that run, ``MP`` (in
``theory.fields``) many digits, ``Ring`` (there too) exact series for proofs, ``Series`` the
truncated Taylor series over any of them, ``Rational`` the classical limit h L = 0.

Only the standard library is used here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, ClassVar

Exact = int | Fraction
"""What a weight function may write as a constant."""


class Scalar:
    """An element ``v`` of the field ``F``; meets only ints, Fractions and scalars of its field.

    The guard matters: mpmath and SymPy accept a binary 0.1 silently, and the proof would then be
    about another number than the one that runs.
    """

    __slots__ = ("F", "v")

    def __init__(self, F: Field, v: Any) -> None:
        self.F = F  # pyright: ignore[reportConstantRedefinition]
        self.v = v

    def __add__(self, o: Scalar | Exact) -> Scalar:
        F, a, b = _pair(self, o)
        return Scalar(F, F.add(a, b))

    def __sub__(self, o: Scalar | Exact) -> Scalar:
        F, a, b = _pair(self, o)
        return Scalar(F, F.sub(a, b))

    def __mul__(self, o: Scalar | Exact) -> Scalar:
        F, a, b = _pair(self, o)
        return Scalar(F, F.mul(a, b))

    def __truediv__(self, o: Scalar | Exact) -> Scalar:
        F, a, b = _pair(self, o)
        return Scalar(F, F.div(a, b))

    def __rsub__(self, o: Exact) -> Scalar:
        F, a, b = _pair(self, o)
        return Scalar(F, F.sub(b, a))

    def __rtruediv__(self, o: Exact) -> Scalar:
        F, a, b = _pair(self, o)
        return Scalar(F, F.div(b, a))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Scalar:
        return Scalar(self.F, self.F.neg(self.v))

    def __pow__(self, n: int) -> Scalar:
        if type(n) is not int or n < 0:
            raise TypeError(f"exponent: got {n!r}; an int >= 0 is allowed (else F.pow)")
        result = self.F.lift(1)
        for _ in range(n):
            result = result * self
        return result

    def __eq__(self, o: object) -> bool:
        if not isinstance(o, Scalar | int | Fraction):
            return NotImplemented
        _, a, b = _pair(self, o)
        return bool(a == b)

    def __lt__(self, o: Scalar | Exact) -> bool:
        F, a, b = _pair(self, o)
        return bool(F.less(a, b))

    def __gt__(self, o: Scalar | Exact) -> bool:
        F, a, b = _pair(self, o)
        return bool(F.less(b, a))

    def __le__(self, o: Scalar | Exact) -> bool:
        return not self > o

    def __ge__(self, o: Scalar | Exact) -> bool:
        return not self < o

    def __hash__(self) -> int:
        return hash(self.v)

    def __abs__(self) -> Scalar:
        return -self if self < 0 else self

    def __float__(self) -> float:
        return self.F.approximate(self.v)

    def __repr__(self) -> str:
        return f"{self.F!r}({self.v})"


def _pair(x: Scalar, y: object) -> tuple[Field, Any, Any]:
    """The common field of x and y, and both raw values in it."""
    if type(y) is Scalar:
        if y.F is x.F:
            return x.F, x.v, y.v
        if x.F.contains(y.F):
            return x.F, x.v, x.F.embed(y)
        if y.F.contains(x.F):
            return y.F, y.F.embed(x), y.v
    elif type(y) is int:
        return x.F, x.v, y if x.F.takes_int else x.F.lift(y).v
    elif isinstance(y, Fraction):
        return x.F, x.v, x.F.lift(y).v
    raise TypeError(
        f"a scalar of {x.F!r} met {y!r}; int, Fraction and its own scalars are allowed"
        " (write Fraction(1, 10) for 0.1, F.exp for math.exp)"
    )


class Field:
    """Arithmetic on raw values (``add`` .. ``neg``) and functions of scalars.

    A field without an ordering or without transcendental functions leaves those undefined; using
    one raises ``TypeError`` or ``AttributeError`` instead of giving a rounded answer.
    """

    takes_int: ClassVar[bool] = False
    """Whether raw values meet a Python int exactly by themselves."""

    digits: int
    quadrature: int
    """Digits to which integrals are exact."""

    add: Callable[..., Any] = staticmethod(operator.add)
    sub: Callable[..., Any] = staticmethod(operator.sub)
    mul: Callable[..., Any] = staticmethod(operator.mul)
    div: Callable[..., Any] = staticmethod(operator.truediv)  # pyright: ignore
    neg: Callable[..., Any] = staticmethod(operator.neg)
    less: Callable[..., bool] = staticmethod(operator.lt)

    @property
    def base(self) -> Field:
        """The field of plain numbers below: itself, or that of the coefficients."""
        return self

    def lift(self, q: Exact) -> Scalar:
        """The scalar equal to an int or Fraction."""
        raise TypeError(f"{self!r} has no lift")

    def vanishes(self, raw: Any) -> bool:
        """Whether a raw value is zero for good, so that its products may be left out."""
        return not raw

    def approximate(self, raw: Any) -> float:
        """A float near the value: for choosing branches, never for weights."""
        return float(raw)

    def contains(self, other: Field) -> bool:
        """Whether scalars of ``other`` may be used as scalars of this field."""
        return False

    def embed(self, x: Scalar) -> Any:
        """The raw value of a scalar of a contained field."""
        raise TypeError(f"{x!r} is no scalar of {self!r}")

    def number(self, x: float | Exact) -> Scalar:
        """The scalar equal to a finite number from outside; a float counts as exact."""
        if isinstance(x, float) and not math.isfinite(x):
            raise ValueError(f"number: got {x!r}; a finite number is allowed")
        return self.lift(Fraction(x))

    def irrational(self, name: str, value: Callable[[Field], Scalar]) -> Scalar:
        """A named irrational constant: its value here, a symbol in a proof."""
        return value(self)

    def out(self, x: Scalar) -> Any:
        """What a plan stores."""
        return x

    def nearest(self, x: Scalar) -> Scalar:
        """The scalar that ``out`` stands for: x as a plan can store it."""
        return x

    def phi(self, k: int, z: Scalar) -> Scalar:
        r"""φ_k(z) = Σ_j z^j/(j+k)!, so φ₀ = e^z, φ_{k+1} = (φ_k − 1/k!)/z.

        Series where |z| < 1 (the quotient would lose k digits per decade), quotient elsewhere.
        """
        if k == 0:
            return self.exp(z)
        one = self.lift(1).v
        if abs(float(z)) < 1:
            terms = series_terms(self.digits)
            acc = one
            for m in range(k + terms, k, -1):
                acc = self.add(one, self.mul(z.v, self.div(acc, m)))
            return Scalar(self, acc) / math.factorial(k)
        value = self.exp(z)
        for j in range(k):
            value = (value - Fraction(1, math.factorial(j))) / z
        return value

    def pow(self, x: Scalar, q: Fraction) -> Scalar:
        """x^q for x > 0."""
        return self.exp(self.log(x) * q)

    def rule(self, a: Scalar, b: Scalar) -> list[tuple[Scalar, Scalar]]:
        """Gauss-Legendre nodes and weights from a to b, for f analytic within π/2 of the axis.

        Bernstein's ellipse of that half-height has r + √(r²+1), r = π/(b−a), as its radius; n
        points leave an error of the radius^(−2n).
        """
        half, mid = (b - a) / 2, (a + b) / 2
        ratio = math.pi / max(2 * abs(float(half)), 1e-9)
        n = math.ceil(self.quadrature * math.log(10) / (2 * math.asinh(ratio)))
        nodes = legendre(self, n + n % 2)
        return [(mid + half * x * side, half * w) for x, w in nodes for side in (-1, 1)]

    def integral(self, f: Callable[[Scalar], Scalar], a: Scalar, b: Scalar) -> Scalar:
        """∫_a^b f on one panel; exact to the field for f analytic nearby."""
        return total(w * f(x) for x, w in self.rule(a, b))

    def exp(self, x: Scalar) -> Scalar:
        """e^x."""
        raise _absent(self, "exp")

    def log(self, x: Scalar) -> Scalar:
        """Natural logarithm, x > 0."""
        raise _absent(self, "log")

    def expm1(self, x: Scalar) -> Scalar:
        """e^x − 1."""
        raise _absent(self, "expm1")

    def log1p(self, x: Scalar) -> Scalar:
        """log(1 + x)."""
        raise _absent(self, "log1p")

    def sqrt(self, x: Scalar) -> Scalar:
        """Square root, x >= 0."""
        raise _absent(self, "sqrt")

    def cos(self, x: Scalar) -> Scalar:
        """Cosine."""
        raise _absent(self, "cos")

    def sin(self, x: Scalar) -> Scalar:
        """Sine."""
        raise _absent(self, "sin")

    def acos(self, x: Scalar) -> Scalar:
        """Inverse cosine."""
        raise _absent(self, "acos")

    def asinh(self, x: Scalar) -> Scalar:
        """Inverse hyperbolic sine."""
        raise _absent(self, "asinh")


def _absent(F: Field, name: str) -> TypeError:
    return TypeError(f"{F!r} has no {name}; a weight function may use + - * / and step.phi")


def total(terms: Iterable[Scalar]) -> Scalar:
    """The sum of at least one scalar."""
    first, *rest = terms
    return sum(rest, first)


@cache
def series_terms(digits: int) -> int:
    """Terms of Σ z^j/j!, |z| < 1, that leave a remainder below 10^-digits."""
    n = 1
    while math.lgamma(n + 1) < digits * math.log(10):
        n += 1
    return n


@lru_cache(maxsize=256)
def legendre(F: Field, n: int) -> tuple[tuple[Scalar, Scalar], ...]:
    """Positive nodes and their weights of the n-point Gauss-Legendre rule on [-1, 1], n even.

    Newton's method in the field itself on P_n, from the usual cosine guess.
    """
    if n % 2:
        raise ValueError(f"n: got {n}; an even number of points is allowed")
    rule: list[tuple[Scalar, Scalar]] = []
    for i in range(n // 2):
        x = F.number(math.cos(math.pi * (i + 0.75) / (n + 0.5)))
        slope = F.lift(1)
        for _ in range(3 + math.ceil(math.log2(F.digits / 8))):
            p, q = F.lift(1), F.lift(0)
            for j in range(n):
                p, q = (x * p * (2 * j + 1) - q * j) / (j + 1), p
            slope = (x * p - q) * n / (x * x - 1)
            x = x - p / slope
        rule.append((x, 2 / ((1 - x * x) * slope * slope)))
    return tuple(rule)


class Rational(Field):
    """Fractions with h L = 0, where φ_k = 1/k!: every method becomes its classical tableau."""

    def lift(self, q: Exact) -> Scalar:
        """The Fraction itself."""
        return Scalar(self, Fraction(q))

    def phi(self, k: int, z: Scalar) -> Scalar:
        """1/k! at z = 0."""
        if z.v != 0:
            raise TypeError(f"z: got {z!r}; the rational field knows z = 0 only")
        return self.lift(Fraction(1, math.factorial(k)))

    def pow(self, x: Scalar, q: Fraction) -> Scalar:
        """1 at x = 1, the only place where every power is rational."""
        if x.v != 1:
            raise TypeError(f"x: got {x!r}; the rational field takes roots of 1 only")
        return x

    def __repr__(self) -> str:
        return "Rational"


RATIONAL = Rational()
