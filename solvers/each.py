"""``Each``: one scalar of a field per coordinate, for weights that are arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache, lru_cache, singledispatch
from typing import Any

from solvers.field import Exact, Field, Scalar

Raw = tuple[Scalar, ...]


class Each(Field):
    """Tuples of n scalars of the field C, all operations coordinate by coordinate."""

    def __init__(self, C: Field, n: int) -> None:
        self.C, self.n = C, n

    @property
    def base(self) -> Field:
        """The field of plain numbers below."""
        return self.C.base

    def collect(self, values: Sequence[Scalar]) -> Scalar:
        """The scalar with these coordinates."""
        return Scalar(self, tuple(values))

    def lift(self, q: Exact) -> Scalar:
        """The same number in every coordinate."""
        return Scalar(self, (self.C.lift(q),) * self.n)

    def contains(self, other: Field) -> bool:
        """The coordinates' field, and what it contains."""
        return other is self.C or self.C.contains(other)

    def embed(self, x: Scalar) -> tuple[Scalar, ...]:
        """The same scalar in every coordinate."""
        return (x,) * self.n

    def approximate(self, raw: tuple[Scalar, ...]) -> float:
        """The coordinate of largest modulus."""
        return max((float(x) for x in raw), key=abs)

    def out(self, x: Scalar) -> tuple[Any, ...]:
        """What a plan stores: one entry per coordinate."""
        return tuple(self.C.out(v) for v in x.v)

    def _map(self, f: Callable[[Scalar], Scalar], x: Scalar) -> Scalar:
        return Scalar(self, tuple(f(v) for v in x.v))

    def add(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Per coordinate."""
        return tuple(x + y for x, y in zip(a, b, strict=True))

    def sub(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Per coordinate."""
        return tuple(x - y for x, y in zip(a, b, strict=True))

    def mul(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Per coordinate."""
        return tuple(x * y for x, y in zip(a, b, strict=True))

    def div(self, a: Raw, b: Raw) -> Raw:  # type: ignore[override]
        """Per coordinate."""
        return tuple(x / y for x, y in zip(a, b, strict=True))

    def neg(self, a: Raw) -> Raw:  # type: ignore[override]
        """Per coordinate."""
        return tuple(-x for x in a)

    def less(self, a: Raw, b: Raw) -> bool:  # type: ignore[override]
        """Coordinates have no common order."""
        raise TypeError(f"{a} < {b} was asked; one value per coordinate has no order")

    def phi(self, k: int, z: Scalar) -> Scalar:
        """Per coordinate."""
        return Scalar(self, tuple(self.C.phi(k, v) for v in z.v))

    def pow(self, x: Scalar, q: Fraction) -> Scalar:
        """Per coordinate."""
        return Scalar(self, tuple(self.C.pow(v, q) for v in x.v))

    def exp(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.exp, x)

    def log(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.log, x)

    def sqrt(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.sqrt, x)

    def expm1(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.expm1, x)

    def log1p(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.log1p, x)

    def cos(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.cos, x)

    def sin(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.sin, x)

    def acos(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.acos, x)

    def asinh(self, x: Scalar) -> Scalar:
        """Per coordinate."""
        return self._map(self.C.asinh, x)

    def __repr__(self) -> str:
        return f"Each({self.C!r}, {self.n})"


@cache
def each_over(C: Field, n: int) -> Each:
    """The one field of n coordinates over C."""
    return Each(C, n)


@singledispatch
def vector(F: Field, values: Sequence[float | Exact]) -> Scalar:
    """One number a coordinate, as a scalar that F's own scalars may meet."""
    if isinstance(F, Each):
        return F.collect([F.C.number(v) for v in values])
    terms: Field | None = getattr(F, "C", None)
    if terms is not None and _has_coordinates(terms):  # a series whose terms are coordinates
        return Scalar(F, F.embed(vector(terms, values)))
    return _collected(F, tuple(values))


@lru_cache(maxsize=64)
def _collected(F: Field, values: tuple[float | Exact, ...]) -> Scalar:
    return each_over(F, len(values)).collect([F.number(v) for v in values])


def _has_coordinates(F: Field) -> bool:
    inner: Field | None = getattr(F, "C", None)
    return isinstance(F, Each) or (inner is not None and _has_coordinates(inner))
