"""Truncated power series over any field: exact derivatives without a second formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

from solvers.field import Exact, Field, Scalar

Raw = tuple[Scalar, ...]


class Series(Field):
    """Σ_{j<=n} a_j ε^j with a_j in the field C; raw values are tuples of C's scalars.

    Exact up to ε^n.  ``f(x + ε)`` has f^{(j)}(x)/j! as its j-th coefficient.
    """

    def __init__(self, C: Field, n: int) -> None:
        self.C, self.n = C, n
        self.zero, self.one = C.lift(0), C.lift(1)

    @property
    def digits(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Digits of the coefficients."""
        return self.C.digits

    @property
    def base(self) -> Field:
        """The field of plain numbers below."""
        return self.C.base

    def approximate(self, raw: tuple[Scalar, ...]) -> float:
        """The constant term."""
        return float(raw[0])

    def series(self, coefficients: Sequence[Scalar]) -> Scalar:
        """The series with these leading coefficients; the rest are zero."""
        a = tuple(coefficients[: self.n + 1])
        return Scalar(self, a + (self.zero,) * (self.n + 1 - len(a)))

    def variable(self, x: Scalar) -> Scalar:
        """x + ε."""
        return self.series([x, self.one])

    def lift(self, q: Exact) -> Scalar:
        """A constant."""
        return self.series([self.C.lift(q)])

    def number(self, x: float | Exact) -> Scalar:
        """A constant."""
        return self.series([self.C.number(x)])

    def contains(self, other: Field) -> bool:
        """The coefficients' field, and what it contains."""
        return other is self.C or self.C.contains(other)

    def embed(self, x: Scalar) -> tuple[Scalar, ...]:
        """A constant."""
        return self.series([x if x.F is self.C else Scalar(self.C, self.C.embed(x))]).v

    def irrational(self, name: str, value: Callable[[Field], Scalar]) -> Scalar:
        """A constant."""
        return self.series([self.C.irrational(name, value)])

    def add(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Term by term."""
        return tuple(x + y for x, y in zip(a, b, strict=True))

    def sub(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Term by term."""
        return tuple(x - y for x, y in zip(a, b, strict=True))

    def neg(self, a: Raw) -> Raw:  # type: ignore[override]
        """Term by term."""
        return tuple(-x for x in a)

    def mul(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Cauchy product; zero terms cost nothing."""
        left = [(i, x) for i, x in enumerate(a) if not self.C.vanishes(x.v)]
        right = [(j, y) for j, y in enumerate(b) if not self.C.vanishes(y.v)]
        out = [self.zero] * (self.n + 1)
        for i, x in left:
            for j, y in right:
                if i + j > self.n:
                    break
                out[i + j] = out[i + j] + x * y
        return tuple(out)

    def div(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Long division; b₀ must be invertible in C."""
        inverse = 1 / b[0]
        tail = [(j, y) for j, y in enumerate(b) if j and not self.C.vanishes(y.v)]
        out: list[Scalar] = []
        for k in range(self.n + 1):
            rest = a[k]
            for j, y in tail:
                if j > k:
                    break
                rest = rest - y * out[k - j]
            out.append(rest * inverse)
        return tuple(out)

    def differentiate(self, x: Scalar) -> Scalar:
        """d/dε; the last coefficient is lost."""
        return self.series([x.v[j] * j for j in range(1, self.n + 1)])

    def integrate(self, x: Scalar, start: Scalar) -> Scalar:
        """start + ∫_0^ε x."""
        return self.series([start, *(x.v[j] / (j + 1) for j in range(self.n))])

    def compose(self, x: Scalar, inner: Scalar) -> Scalar:
        """x(inner), where inner has no constant term (Horner)."""
        total = self.lift(0)
        for c in reversed(x.v):
            total = total * inner + c
        return total

    def exp(self, x: Scalar) -> Scalar:
        """e_k = (1/k) Σ_j j a_j e_{k−j}."""
        out = [self.C.exp(x.v[0])]
        for k in range(1, self.n + 1):
            terms = (x.v[j] * out[k - j] * j for j in range(1, k + 1))
            out.append(sum(terms, self.zero) / k)
        return self.series(out)

    def phi(self, k: int, z: Scalar) -> Scalar:
        """Σ_j z^j/(j+k)!, for z without constant term."""
        total, factor = self.lift(0), 1
        for m in range(1, k + self.n + 1):
            factor *= m
        for j in range(self.n, -1, -1):
            total = total * z + Fraction(1, factor)
            factor //= max(j + k, 1)
        return total

    def pow(self, x: Scalar, q: Fraction) -> Scalar:
        """b_k = Σ_j (q j − (k−j)) a_j b_{k−j}/(k a₀), b₀ = a₀^q."""
        out, inverse = [self.C.pow(x.v[0], q)], 1 / x.v[0]
        for k in range(1, self.n + 1):
            terms = (x.v[j] * out[k - j] * (q * j - (k - j)) for j in range(1, k + 1))
            out.append(sum(terms, self.zero) * inverse / k)
        return self.series(out)

    def sqrt(self, x: Scalar) -> Scalar:
        """Square root."""
        return self.pow(x, Fraction(1, 2))

    def log(self, x: Scalar) -> Scalar:
        """∫ x'/x."""
        return self._primitive(x, self.C.log, lambda y: 1 / y)

    def log1p(self, x: Scalar) -> Scalar:
        """∫ x'/(1+x)."""
        return self._primitive(x, self._function("log1p"), lambda y: 1 / (1 + y))

    def expm1(self, x: Scalar) -> Scalar:
        """∫ e^x x'."""
        return self._primitive(x, self._function("expm1"), self.exp)

    def asinh(self, x: Scalar) -> Scalar:
        """∫ x'/√(1+x²)."""
        return self._primitive(x, self._function("asinh"), lambda y: 1 / self.sqrt(1 + y * y))

    def acos(self, x: Scalar) -> Scalar:
        """−∫ x'/√(1−x²)."""
        return self._primitive(x, self._function("acos"), lambda y: -1 / self.sqrt(1 - y * y))

    def cos(self, x: Scalar) -> Scalar:
        """With sin, by c' = −s x', s' = c x'."""
        return self._circle(x)[0]

    def sin(self, x: Scalar) -> Scalar:
        """With cos."""
        return self._circle(x)[1]

    def _circle(self, x: Scalar) -> tuple[Scalar, Scalar]:
        c, s = [self._function("cos")(x.v[0])], [self._function("sin")(x.v[0])]
        for k in range(1, self.n + 1):
            c.append(-sum((x.v[j] * s[k - j] * j for j in range(1, k + 1)), self.zero) / k)
            s.append(sum((x.v[j] * c[k - j] * j for j in range(1, k + 1)), self.zero) / k)
        return self.series(c), self.series(s)

    def _primitive(
        self, x: Scalar, at: Callable[[Scalar], Scalar], slope: Callable[[Scalar], Scalar]
    ) -> Scalar:
        return self.integrate(slope(x) * self.differentiate(x), at(x.v[0]))

    def _function(self, name: str) -> Callable[[Scalar], Scalar]:
        return getattr(self.C, name)

    def __repr__(self) -> str:
        return f"Series({self.C!r}, {self.n})"


@cache
def series_over(C: Field, n: int) -> Series:
    """The one Series field over C of this order (fields are compared by identity)."""
    return Series(C, n)
