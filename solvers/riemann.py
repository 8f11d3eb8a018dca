r"""φ_k as released code has them: left Riemann sums in the form's clock in place of integrals.

    φ_k(c) ≈ c^{−k} Σ_{m<M} (c/M) K(τ_n + c h m/M) (c m/M)^{k−1}/(k−1)!

A sum over thousands of points is evaluated like an integral, by Gauss's rule for equal weights at
0, 1, .., M − 1, whose orthogonal polynomials are Gram's.

Source: the released code of Zhang and Chen 2023 (DEIS).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from solvers.field import Field, Scalar, total
from solvers.form import Form, Moments, Reading
from solvers.options import Option
from solvers.point import Point

LONGEST = 0.5
"""Of a block of points, in λ."""
FEW = 64
"""Points that are never split further."""
TINY = 1e-9
"""Within this a point is on a knot."""

Rule = tuple[tuple[Scalar, Scalar], ...]


@dataclass(frozen=True)
class LeftSum(Form):
    """Another form with L = 0, its φ_k by left sums of M = ``points`` points."""

    options = (Option("points", 10_000, kind="count", per_step=False),)

    base: Form
    points: int = 10_000

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"options.points: got {self.points}; an integer >= 1 is allowed")

    def scale(self, p: Point) -> Scalar:
        """The base's."""
        return self.base.scale(p)

    def read(self, p: Point) -> Reading:
        """The base's."""
        return self.base.read(p)

    def coefficients(self, p: Point) -> tuple[Scalar, Scalar, Scalar]:
        """The base's."""
        return self.base.coefficients(p)

    def moments(self, c: Scalar, start: Point, h: Scalar) -> Moments:
        """φ₀ = 1; the others from one list of places and weights."""
        nodes = list(self._nodes(c, start, h))

        def phi(k: int) -> Scalar:
            if k == 0:
                return start.F.lift(1)
            moment = total(weight * place ** (k - 1) for place, weight in nodes)
            return moment / (c**k * math.factorial(k - 1))

        return phi

    def _nodes(self, c: Scalar, start: Point, h: Scalar) -> Iterator[tuple[Scalar, Scalar]]:
        """Fractions of the step and what K there weighs: Gauss's rule on every block."""
        share = c / self.points

        def at(m: Scalar | int) -> Point:
            return self.end(share * m, start, h)

        cuts = [0, *self._knots(start, at(self.points)), self.points]
        for low, high in itertools.pairwise(cuts):
            for a, b, length in blocks(low, high, lambda m: float(at(m).lam)):
                for m, weight in gram(start.F, b - a, degree(start.F, length)):
                    yield share * (m + a), share * weight * self.coefficients(at(m + a))[1]

    def _knots(self, start: Point, end: Point) -> list[int]:
        """The first point beyond each knot of K(t): one on it belongs to the piece before."""
        low, high = sorted((float(start.lam), float(end.lam)))
        knots = start.schedule.knots if self.clock == "t" else ()
        inside = (start.F.number(k) for k in knots if low - TINY < k < high + TINY)
        taus = (self.tau(Point(start.schedule, start.F, "lam", k)) for k in inside)
        span = self.tau(end) - self.tau(start)
        places = (float((tau - self.tau(start)) / span) * self.points for tau in taus)
        found = {math.floor(x + TINY) + 1 for x in places}
        return sorted(m for m in found if 0 < m < self.points)


def blocks(low: int, high: int, lam: Callable[[int], float]) -> Iterator[tuple[int, int, float]]:
    """Halves of halves, each with its length in λ."""
    length = abs(lam(high) - lam(low))
    if length <= LONGEST or high - low <= FEW:
        yield low, high, length
    else:
        middle = (low + high) // 2
        yield from blocks(low, middle, lam)
        yield from blocks(middle, high, lam)


def degree(F: Field, length: float) -> int:
    """Nodes for a block of this length in λ.

    K(t) is analytic but at t = 0, where λ ~ −log(t)/2 at the fastest: then the Bernstein ellipse
    that ends there has the radius coth(length/2), and n nodes leave an error of radius^(−2n).
    """
    radius = 1 / math.tanh(max(length, 1e-9) / 2)
    return 2 * math.ceil(F.quadrature * math.log(10) / (4 * math.log(radius)))


@lru_cache(maxsize=1024)
def gram(F: Field, count: int, n: int) -> Rule:
    """Nodes and weights with Σ w f(x) = Σ_{m<count} f(m) for polynomials f of degree < 2n.

    Gram's p_{k+1} = x p_k − β_k p_{k−1}, β_k = k²(count² − k²)/(4(4k² − 1)), around the middle.  A
    few points are taken one by one; the guess of the zeros is Legendre's and wants count >> n.
    """
    if count <= 8 * n:
        return tuple((F.lift(m), F.lift(1)) for m in range(count))
    middle, rule = F.lift(count - 1) / 2, list[tuple[Scalar, Scalar]]()
    betas = [F.lift(k * k * (count * count - k * k)) / (4 * (4 * k * k - 1)) for k in range(1, n)]
    norm = math.prod(betas, start=F.lift(count))
    for i in range(n):
        x = F.number(count * math.cos(math.pi * (i + 0.75) / (n + 0.5)) / 2)
        slope, before = F.lift(1), F.lift(1)
        for _ in range(6 + math.ceil(math.log2(F.digits / 8))):
            p, before, slope, older = x, F.lift(1), F.lift(1), F.lift(0)
            for beta in betas:
                slope, older = p + x * slope - beta * older, slope
                p, before = x * p - beta * before, p
            x = x - p / slope
        rule.append((middle + x, norm / (slope * before)))
    return tuple(rule)
