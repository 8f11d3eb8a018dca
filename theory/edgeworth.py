r"""Edgeworth's expansion about the Gaussian of the same mean and covariance, to second order.

τ = σ², c = λ + τ, P = 1/c, y = P (x − m).  The third cumulant is the first order; the fourth is
the second, like the third's square.  Gaussian expectations of polynomials are moments, term by
term; tensors are symbolic and symmetric.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import sympy
from sympy import Symbol, diff, expand

from theory.proved import Finding, claim


def tensor(name: str, order: int, d: int) -> dict[tuple[int, ...], Any]:
    """A symmetric tensor's entries, in ``d`` dimensions."""
    places = itertools.product(range(d), repeat=order)
    return {i: Symbol(name + "".join(map(str, sorted(i))), real=True) for i in places}


def hermite(y: Sequence[Any], p: Sequence[Any], places: Sequence[int]) -> Any:
    """(−1)^n g⁻¹ ∂^n g along ``places``, g = N(0, diag(1/p)) and y = p x."""
    if not places:
        return sympy.Integer(1)
    first, rest = places[0], list(places[1:])
    total = y[first] * hermite(y, p, rest)
    for n, place in enumerate(rest):
        if place == first:
            total -= p[first] * hermite(y, p, rest[:n] + rest[n + 1 :])
    return expand(total)


def expectation(poly: Any, y: Sequence[Any], p: Sequence[Any]) -> Any:
    """E of a polynomial in y = P x under g: y_i are independent of variance p_i."""
    total = sympy.Integer(0)
    for powers, coefficient in sympy.Poly(expand(poly), *y).terms():
        if all(n % 2 == 0 for n in powers):
            moments = [
                v ** (n // 2) * sympy.factorial2(n - 1) for v, n in zip(p, powers, strict=True)
            ]
            total += coefficient * sympy.prod(moments)
    return expand(total)


def contract(kappa: dict[tuple[int, ...], Any], *weights: Sequence[Any]) -> Any:
    """|κ|²_{A,B,..} for diagonal A, B, .."""
    return sum(
        value**2 * sympy.prod([a[n] for a, n in zip(weights, places, strict=True)])
        for places, value in kappa.items()
    )


class Edgeworth:
    """log(p/g) to second order in ε, in ``d`` dimensions with a diagonal P."""

    def __init__(self, d: int) -> None:
        self.d = d
        self.y, self.p = sympy.symbols(f"y:{d}", real=True), sympy.symbols(f"p:{d}", positive=True)
        self.third, self.fourth = tensor("a", 3, d), tensor("b", 4, d)
        he = {
            n: {
                i: hermite(self.y, self.p, i)
                for i in itertools.combinations_with_replacement(range(d), n)
            }
            for n in (3, 4, 6)
        }
        self.first = self._sum(self.third, he[3], 6)
        six = sum(
            u * v * he[6][tuple(sorted(i + j))]
            for (i, u), (j, v) in itertools.product(self.third.items(), repeat=2)
        )
        second = self._sum(self.fourth, he[4], 24) + six / 72
        self.second = expand(second - self.first**2 / 2)

    def _sum(self, kappa: Any, he: Any, divisor: int) -> Any:
        return expand(sum(v * he[tuple(sorted(i))] for i, v in kappa.items()) / divisor)

    def slope(self, f: Any) -> list[Any]:
        """∇_x f of a function of y = P x."""
        return [expand(p * diff(f, y)) for y, p in zip(self.y, self.p, strict=True)]

    def q(self) -> list[Any]:
        """κ₃[yy − P]."""
        y, p, n = self.y, self.p, range(self.d)
        return [
            sum(
                self.third[i, j, k] * (y[j] * y[k] - (p[j] if j == k else 0)) for j in n for k in n
            )
            for i in n
        ]


@claim
def score_difference(
    *, half: Fraction = Fraction(1, 2), dimensions: Sequence[int] = (1, 2)
) -> Finding:
    """At fixed w, s − s_G = ½ P κ₃[yy − P] + ⅙ P κ₄[H₃] + ½ P (κ₃[PBP] − B P q) + O(σ⁻⁶)."""
    for d in dimensions:
        e = Edgeworth(d)
        n, y, p, a = range(d), e.y, e.p, e.third
        q = e.q()
        b = [[sum(a[i, j, k] * y[k] for k in n) for j in n] for i in n]
        for i in n:
            first = half * p[i] * q[i]
            cubic = sum(
                e.fourth[i, j, k, l] * hermite(y, p, (j, k, l)) for j in n for k in n for l in n
            )
            pairs = sum(a[i, j, k] * p[j] * b[j][k] * p[k] for j in n for k in n)
            second = p[i] * (cubic / 6 + (pairs - sum(b[i][j] * p[j] * q[j] for j in n)) / 2)
            if (
                expand(e.slope(e.first)[i] - first) != 0
                or expand(e.slope(e.second)[i] - second) != 0
            ):
                return False, f"{d} dimensions, coordinate {i}"
    return True, f"symbolic tensors in {list(dimensions)} dimensions"


@claim
def log_ratio(*, constant: Fraction = Fraction(1, 12)) -> Finding:
    """log p/g = κ₃[H₃]/6 + κ₄[H₄]/24 − qᵀPq/8 + tr(PBPB)/4 − |κ₃|²_P/12 + .. in two dimensions."""
    e = Edgeworth(2)
    n, y, p, q = range(2), e.y, e.p, e.q()
    b = [[sum(e.third[i, j, k] * y[k] for k in n) for j in n] for i in n]
    trace = sum(p[i] * b[i][j] * p[j] * b[j][i] for i in n for j in n)
    fourth = sum(v * hermite(y, p, i) for i, v in e.fourth.items()) / 24
    stated = fourth - sum(p[i] * q[i] ** 2 for i in n) / 8 + trace / 4
    stated -= constant * contract(e.third, p, p, p)
    return expand(e.second - stated) == 0, "symbolic tensors"


@claim
def second_moments(*, divisor: int = 12) -> Finding:
    """J ≃ ½ |κ₃|²_{P²,P,P} + ⅙ |κ₄|²_{P²,P,P,P} and K ≃ |κ₃|²_P/12 + |κ₄|²_P/48, dK/dτ = −J/2."""
    e = Edgeworth(2)
    p, square = e.p, [v**2 for v in e.p]
    he4 = sum(v * hermite(e.y, p, i) for i, v in e.fourth.items()) / 24
    norms = [contract(e.third, p, p, p) / divisor, contract(e.fourth, p, p, p, p) / 48]
    slopes = [contract(e.third, square, p, p) / 2, contract(e.fourth, square, p, p, p) / 6]
    for f, entropy, fisher in zip((e.first, he4), norms, slopes, strict=True):
        found = [expectation(f**2 / 2, e.y, p), expectation(sum(v**2 for v in e.slope(f)), e.y, p)]
        # dp/dτ = −p², as p = 1/(λ + τ)
        fall = -sum(diff(entropy, v) * v**2 for v in p)
        if any(expand(v) != 0 for v in (found[0] - entropy, found[1] - fisher, fall + fisher / 2)):
            return False, f"{e.d} dimensions"
    return True, "two dimensions; both orders, and de Bruijn's identity between them"


@claim
def pairs_give_norms(*, share: int = 6) -> Finding:
    """|κ₄|²_P = E(aᵀPb)⁴ − 6 E(aᵀPΣPa)² + 3 (tr(PΣ)²)² + 6 tr(PΣ)⁴, |κ₃|²_P = E(aᵀPb)³."""
    n = range(2)
    p, s = sympy.symbols("p:2", positive=True), sympy.symbols("s:2", positive=True)
    moment, third = tensor("m", 4, 2), tensor("a", 3, 2)

    def pairing(i: tuple[int, ...]) -> Any:
        pairs = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
        return sum(sympy.prod([s[i[u]] if i[u] == i[v] else 0 for u, v in pair]) for pair in pairs)

    kappa = {i: moment[i] - pairing(i) for i in moment}
    own = sum(moment[i, i, j, j] * p[i] ** 2 * s[i] * p[j] ** 2 * s[j] for i in n for j in n)
    traces = [sum((p[i] * s[i]) ** k for i in n) for k in (2, 4)]
    stated = contract(moment, p, p, p, p) - share * own + 3 * traces[0] ** 2 + 6 * traces[1]
    a, b = sympy.symbols("a0 a1"), sympy.symbols("b0 b1")
    cube = sympy.Poly(expand(sum(u * v * q for u, v, q in zip(a, b, p, strict=True)) ** 3), *a, *b)
    mean = sum(
        c * third[(0,) * i + (1,) * j] * third[(0,) * k + (1,) * l]
        for (i, j, k, l), c in cube.terms()
    )
    both = expand(contract(kappa, p, p, p, p) - stated), expand(mean - contract(third, p, p, p))
    return both == (0, 0), "symbolic moments in two dimensions"


CLAIMS = (score_difference, log_ratio, second_moments, pairs_give_norms)
