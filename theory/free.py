"""A step about which nothing is known: φ_k(c) and the step ratios are free symbols.

A weight function sees no more than these, so two functions with equal weights here are one method,
in every form, on every grid and at every h.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import factorial
from typing import Any

from sympy import Symbol

from solvers.field import Scalar, total
from solvers.method import Row, Weight, Weights, entry
from theory.fields import Poly
from theory.order import bound

PLACES = ("1", "1/2", "1/3", "2/3", "r1", "r2")
HIGHEST = 4
"""φ_k(c) exist for these c, and for k up to here."""
MEMORY = 3
ROOTS = 4
"""Ratios of other clocks are this power of a symbol, so that a method may take their roots."""
PARAMETERS = (
    *("r1", "r2", "phi1", "phi1_inf"),
    *(f"ratio{j}" for j in range(1, MEMORY + 1)),
    *(f"{clock}_root{j}" for clock in ("rho", "lam") for j in (1, 2)),
)
FIELD = Poly(PARAMETERS, [f"phi{k}({c})" for k in range(1, HIGHEST + 1) for c in PLACES])


@dataclass(frozen=True)
class Free:
    """The step (``solvers.method.Step``); ``flat`` has φ_k = 1/k!, that is h L = 0 and K = 1.

    ``clock`` names the form's own; the ratios of every other one are symbols of their own.
    """

    flat: bool = False
    clock: str | None = None
    F: Poly = FIELD
    index: int = 50
    steps: int = 100

    def phi(self, k: int, c: Weight = 1) -> Scalar:
        """φ_k(c)."""
        if self.flat:
            return self.F.lift(Fraction(1, factorial(k)))
        return self.F.symbol(f"phi{k}({c.v if isinstance(c, Scalar) else c})")

    def time(self, c: Weight = 1) -> float | None:
        """Of no schedule."""
        return None

    def ratio(self, j: int = 1, clock: str | None = None) -> Scalar:
        """h_{n−j}/h_n."""
        if clock in (None, self.clock):
            return self.F.symbol(f"ratio{j}")
        return self.F.symbol(f"{clock}_root{j}") ** ROOTS

    def past(self, j: int) -> Scalar:
        """−(ratio₁ + .. + ratio_j)."""
        return -total(self.ratio(i) for i in range(1, j + 1))

    def at(self, fraction: Weight, clock: str) -> Scalar:
        """The symbols of other clocks are not provided."""
        if clock != self.clock:
            raise ValueError(f"clock: got {clock!r}; {self.clock!r} is allowed")
        return self.F.lift(1) * fraction

    def scalar(self, value: Any) -> Any:
        """SymPy symbols as scalars of the field."""
        return self.F.symbol(value.name) if isinstance(value, Symbol) else value

    def weights(self, name: str, *, q: int | None = None, **options: Any) -> Weights:
        """The method's weights at order q, its own by default."""
        e = entry(name)
        own = {k: self.scalar(v) for k, v in bound(e, options).items()}
        return e.fn(self, **({} if e.q is None else {"q": q or e.q}), **own)

    def same(self, a: Weights, b: Weights) -> bool:
        """Whether two steps are one: equal rows at equal places, the same evaluation carried."""
        alike = (len(a.rows), a.carry) == (len(b.rows), b.carry)
        return alike and all(self.equal(x, y) for x, y in zip(a.rows, b.rows, strict=True))

    def equal(self, x: Row, y: Row) -> bool:
        """Whether two rows are one; missing weights are zero."""
        parts = ((x.now, y.now), (x.past, y.past), (x.d, y.d), ((x.c,), (y.c,)))
        return all(self._equal(p, r) for p, r in parts)

    def _equal(self, x: tuple[Weight, ...], y: tuple[Weight, ...]) -> bool:
        n, one = max(len(x), len(y)), self.F.lift(1)
        filled = zip((*x, *(0,) * (n - len(x))), (*y, *(0,) * (n - len(y))), strict=True)
        return all(one * a == one * b for a, b in filled)
